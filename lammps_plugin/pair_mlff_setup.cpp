// SPDX-License-Identifier: GPL-2.0-or-later
// From the lines of a deck to a student that is ready to be evaluated.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "memory.h"
#include "neighbor.h"
#include "pair_mlff.h"
#include "python_process.h"
#include "update.h"

#ifndef MLFF_MD_KERNEL
#define MLFF_MD_KERNEL ""
#endif

using namespace LAMMPS_NS;

namespace mlff_plugin {

namespace {

// Masses within 1 % are those of one element; isotopes and repartitioned masses are not.
bool same_mass(double a, double b) { return std::fabs(a / b - 1.0) < 0.01; }

bool is_keyword(const std::string &word) {
  for (const char *known : {"engine", "dtype", "threads", "device", "masses", "guard"})
    if (word == known)
      return true;
  return false;
}

// Gives all ranks what rank 0 has.
template <class Bytes> void broadcast(Bytes *bytes, MPI_Comm world, int me) {
  long long size = (long long)bytes->size();
  MPI_Bcast(&size, 1, MPI_LONG_LONG, 0, world);
  if (me)
    bytes->resize(std::size_t(size));
  for (long long at = 0; at < size; at += 1 << 30)
    MPI_Bcast(&(*bytes)[std::size_t(at)], int(std::min(size - at, 1LL << 30)), MPI_BYTE, 0, world);
}

} // namespace

void PairMLFF::settings(int narg, char **arg) {
  options_ = {};
  for (int k = 0; k < narg; k += 2) {
    const bool alone = k + 1 == narg;
    const std::string key = arg[k], value = alone ? "" : arg[k + 1];
    if (alone && is_keyword(key))
      error->all(FLERR, "pair_style {}: {} needs a value", style_, key);
    if (key == "engine")
      options_.engine = value;
    else if (key == "dtype" && (value == "float32" || value == "float64"))
      options_.dtype = value;
    else if (key == "device")
      options_.device = value;
    else if (key == "threads") {
      options_.threads = utils::inumeric(FLERR, value, false, lmp);
      if (options_.threads < 1)
        error->all(FLERR, "pair_style {}: threads must be at least 1", style_);
    } else if (key == "masses" && (value == "check" || value == "any"))
      options_.check_masses = value == "check";
    else if (key == "guard" && (value == "stop" || value == "off"))
      options_.guard = value == "stop";
    else
      error->all(FLERR,
                 "pair_style {}: cannot use '{}'; there are engine NAME, dtype float32|float64, "
                 "threads N, device NAME, masses check|any, guard stop|off; the cutoff is the "
                 "student's, and the student is named by pair_coeff",
                 style_, alone ? key : key + " " + value);
  }
}

void PairMLFF::coeff(int narg, char **arg) {
  if (narg < 3 || std::strcmp(arg[0], "*") || std::strcmp(arg[1], "*"))
    error->all(FLERR, "pair_style {}: write pair_coeff * * STUDENT and one element per atom type",
               style_);
  load(arg[2], narg - 3, arg + 3);
}

void PairMLFF::load(const std::string &name, int num_symbols, char **symbols) {
  close();
  announced_ = false;
  std::string kernel_path;
  read_student(name, &kernel_path);
  map_elements(num_symbols, symbols);
  // An exported file has no weights to show: it runs in Python.
  const bool can_be_native =
      !kernel_path.empty() && options_.device == "cpu" && student_.spec.num_weights > 0;
  if (options_.engine == "native" || (options_.engine == "auto" && can_be_native))
    open_native(kernel_path);
  else
    open_python(name);
  // LAMMPS sizes its buffers by this.
  comm_forward = most_doubles_;
  fresh_ = true;
}

void PairMLFF::read_student(const std::string &name, std::string *kernel_path) {
  std::string why;
  std::vector<char> content;
  if (comm->me == 0) {
    PackedFiles files = {name, environment("MLFF_MD_KERNEL", MLFF_MD_KERNEL)};
    if (!is_packed(name))
      why = run_packer(name, &files);
    if (why.empty())
      why = read_file(files.student, &content);
    *kernel_path = files.kernel;
  }
  broadcast(&why, world, comm->me);
  if (!why.empty())
    error->all(FLERR, "pair_style {}: {}", style_, why);
  broadcast(&content, world, comm->me);
  broadcast(kernel_path, world, comm->me);
  why = parse(std::move(content), &student_);
  if (!why.empty())
    error->all(FLERR, "pair_style {}: {}: {}", style_, name, why);
}

void PairMLFF::map_elements(int count, char **symbols) {
  const int types = atom->ntypes;
  std::string known;
  for (const std::string &symbol : student_.elements)
    known += " " + symbol;
  if (count != types)
    error->all(FLERR, "pair_style {}: {} atom types need {} elements after the student, got {}",
               style_, types, types, count);
  species_.assign(types + 1, -1);
  for (int t = 1; t <= types; t++) {
    if (!std::strcmp(symbols[t - 1], "NULL")) {
      if (!utils::strmatch(force->pair_style, "^hybrid"))
        error->all(FLERR, "pair_style {}: atom type {} is NULL, which needs pair_style hybrid",
                   style_, t);
      continue;
    }
    species_[t] = student_.find(symbols[t - 1]);
    if (species_[t] < 0)
      error->all(FLERR, "pair_style {}: student {} does not know element {}, only{}", style_,
                 student_.name, symbols[t - 1], known);
  }
  if (!allocated) {
    memory->create(setflag, types + 1, types + 1, "pair:setflag");
    memory->create(cutsq, types + 1, types + 1, "pair:cutsq");
    memory->create(cutghost, types + 1, types + 1, "pair:cutghost");
    allocated = 1;
  }
  for (int i = 1; i <= types; i++)
    for (int j = 1; j <= types; j++)
      setflag[i][j] = i <= j && species_[i] >= 0 && species_[j] >= 0;
}

void PairMLFF::open_native(const std::string &path) {
  if (options_.device != "cpu")
    error->all(FLERR, "pair_style {}: engine native runs on the CPU; use engine torchscript for {}",
               style_, options_.device);
  if (student_.spec.num_weights == 0)
    error->all(FLERR,
               "pair_style {}: engine native cannot run an exported student; give the "
               "student itself, or leave the engine out",
               style_);
  std::string why = open_kernel(path, &kernel_);
  if (why.empty()) {
    const mlff_options options = {options_.dtype == "float32", options_.threads, 0.0,
                                  student_.shortest_A, nullptr};
    char message[512] = "";
    engine_ = kernel_.mlff_engine_new(&student_.spec, &options, message, sizeof message);
    if (!engine_)
      why = std::string("native engine: ") + message;
  }
  if (!why.empty())
    error->one(FLERR, "pair_style {}: {}", style_, why);
  most_doubles_ = 2;
  for (int layer = 0; layer < student_.spec.layers; layer++)
    for (int reverse = 0; reverse < 2; reverse++)
      most_doubles_ =
          std::max(most_doubles_, (kernel_.mlff_stage_bytes(engine_, layer, reverse) + 7) / 8);
}

void PairMLFF::open_python(const std::string &name) {
  if (is_packed(name))
    error->all(FLERR, "pair_style {}: engine {} needs the student's name or .safetensors file",
               style_, options_.engine);
  callback_.reset(new Callback);
  callback_->student = name.c_str();
  callback_->engine = options_.engine.c_str();
  callback_->dtype = options_.dtype.c_str();
  callback_->device = options_.device.c_str();
  callback_->threads = options_.threads;
  const std::string why = open_callback(callback_.get());
  if (!why.empty()) {
    callback_.reset();
    error->one(FLERR, "pair_style {}: {}", style_, why);
  }
  most_doubles_ = 2;
}

bool PairMLFF::wide_ghosts() const { return !stages() && comm->nprocs > 1; }

void PairMLFF::init_style() {
  if (!engine_ && !callback_)
    error->all(FLERR, "pair_style {}: there is no pair_coeff * * STUDENT ELEMENTS", style_);
  check_system();
  if (options_.guard && !student_.domain.has_pairs())
    error->all(FLERR, "pair_style {}: student {} does not say where it was trained; guard off",
               style_, student_.name);
  if (options_.check_masses)
    check_masses();
  ghostneigh = wide_ghosts();
  neighbor->add_request(this, NeighConst::REQ_FULL | (wide_ghosts() ? NeighConst::REQ_GHOST : 0));
  if (wide_ghosts())
    comm->cutghostuser = std::max(comm->cutghostuser,
                                  student_.spec.layers * student_.spec.cutoff_A + neighbor->skin);
  // A hybrid style has asked its styles for this before they had a student.
  force->pair->comm_forward = std::max(force->pair->comm_forward, most_doubles_);
  fresh_ = true;
  announce();
}

double PairMLFF::init_one(int i, int j) {
  cutghost[i][j] = cutghost[j][i] = student_.spec.cutoff_A;
  return student_.spec.cutoff_A;
}

void PairMLFF::check_system() {
  const std::string units = update->unit_style;
  if (units == "metal")
    energy_unit_ = 1.0;
  else if (units == "real")
    energy_unit_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR, "pair_style {} needs units metal or real, not {}", style_, units);
  if (domain->dimension != 3)
    error->all(FLERR, "pair_style {} needs dimension 3", style_);
  if (neighbor->includegroup)
    error->all(FLERR, "pair_style {} cannot be used with neigh_modify include", style_);
  if (wide_ghosts() && !force->newton_pair)
    error->all(FLERR, "pair_style {}: engine {} on several ranks needs newton on", style_,
               options_.engine);
  for (int k = 1; atom->molecular != Atom::ATOMIC && k < 4; k++)
    if (force->special_lj[k] != 1.0)
      error->all(FLERR,
                 "pair_style {}: atoms with bonds need 'special_bonds lj/coul 1 1 1', or bonded "
                 "neighbors are left out",
                 style_);
  check_exclusions();
}

// Whether pairs of the student's atoms could be missing in the neighbor list. Others may be, such
// as those of a wall that is NULL. Neighbor's flag and bits are not set yet at init_style().
void PairMLFF::check_exclusions() const {
  bool missing = false;
  for (int k = 0; k < neighbor->nex_type; k++) {
    const int one = neighbor->ex1_type[k], other = neighbor->ex2_type[k];
    const bool valid = std::min(one, other) > 0 && std::max(one, other) <= atom->ntypes;
    missing |= valid && species_[one] >= 0 && species_[other] >= 0; // else LAMMPS' own error
  }
  for (int k = 0; k < neighbor->nex_group; k++)
    missing |= has_atoms_in(neighbor->ex1_group[k]) && has_atoms_in(neighbor->ex2_group[k]);
  for (int k = 0; k < neighbor->nex_mol; k++)
    missing |= has_atoms_in(neighbor->ex_mol_group[k]);
  if (missing)
    error->all(
        FLERR,
        "pair_style {}: neigh_modify exclude, or a fix that uses it such as gcmc, leaves out "
        "neighbors of the student's atoms; write 'neigh_modify exclude none', and hold atoms still "
        "with 'fix setforce 0 0 0' or by "
        "leaving them out of the integrating fix, which costs the same",
        style_);
}

bool PairMLFF::has_atoms_in(int which_group) const {
  const int bit = group->bitmask[which_group];
  int here = 0, anywhere = 0;
  for (int i = 0; i < atom->nlocal; i++)
    here |= (atom->mask[i] & bit) && species_[atom->type[i]] >= 0;
  MPI_Allreduce(&here, &anywhere, 1, MPI_INT, MPI_MAX, world);
  return anywhere;
}

// A wrong order of elements gives plausible nonsense: masses show it. A mass that is no element's
// may be an isotope's, or repartitioned.
void PairMLFF::check_masses() {
  for (int t = 1; t <= atom->ntypes && atom->mass; t++) {
    if (species_[t] < 0 || !atom->mass_setflag[t])
      continue;
    const std::string &symbol = student_.elements[species_[t]];
    if (same_mass(atom->mass[t], student_.mass(symbol)))
      continue;
    for (const auto &[other, mass] : student_.masses)
      if (same_mass(atom->mass[t], mass))
        error->all(FLERR,
                   "pair_style {}: pair_coeff makes atom type {} {}, but its mass {:.4g} is that "
                   "of {}; wrong order of elements? (if the mass is meant: masses any)",
                   style_, t, symbol, atom->mass[t], other);
  }
}

// Of a new list, the same on all ranks: whether ghosts reach as far as the engine needs them, and
// whether atoms have come into a group that is excluded, as in the trials of fix gcmc.
void PairMLFF::check_ghosts() {
  check_exclusions();
  const double reach =
      (wide_ghosts() ? student_.spec.layers : 1) * student_.spec.cutoff_A + neighbor->skin;
  const bool single = comm->mode == Comm::SINGLE || !wide_ghosts();
  if (!single || comm->get_comm_cutoff() < reach * (1.0 - 1e-12))
    error->all(FLERR,
               "pair_style {} needs ghost atoms within {} Angstrom: comm_modify mode single "
               "cutoff {}",
               style_, reach, reach);
}

void PairMLFF::announce() {
  if (announced_ || comm->me)
    return;
  announced_ = true;
  std::string by_type;
  for (int t = 1; t <= atom->ntypes; t++)
    by_type += species_[t] < 0 ? " NULL" : " " + student_.elements[species_[t]];
  const std::string engine =
      engine_ ? fmt::format("native ({})", kernel_.mlff_engine_instruction_set(engine_))
              : std::string(callback_->description);
  utils::logmesg(lmp, "pair_style {}: student {} (sha256 {}), engine {}, {}, elements{}\n", style_,
                 student_.name, student_.sha256.substr(0, 12), engine, options_.dtype, by_type);
}

} // namespace mlff_plugin
