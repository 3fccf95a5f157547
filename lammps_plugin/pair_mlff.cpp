// SPDX-License-Identifier: GPL-2.0-or-later
// Evaluation; pair_mlff_setup.cpp reads the deck's lines.
#include "pair_mlff.h"

#include <algorithm>
#include <cmath>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace mlff_plugin {

namespace {

constexpr int kGuardEvery = 20; // steps between looks at the surroundings of atoms

} // namespace

PairMLFF::PairMLFF(LAMMPS *lammps) : Pair(lammps) {
  manybody_flag = 1;
  one_coeff = 1;
  single_enable = 0;
  restartinfo = 0;
  no_virial_fdotr_compute = 1; // the engine has the virial
  centroidstressflag = CENTROID_NOTAVAIL;
  comm_forward = most_doubles_;
}

PairMLFF::~PairMLFF() {
  close();
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
    memory->destroy(cutghost);
  }
}

void PairMLFF::close() {
  if (engine_)
    kernel_.mlff_engine_free(engine_);
  engine_ = nullptr;
  if (callback_ && callback_->close)
    callback_->close(callback_->id);
  callback_.reset();
}

EdgeList::Atoms PairMLFF::atoms() const {
  return {atom->nlocal, atom->nlocal + atom->nghost, atom->type, atom->x, list, species_.data()};
}

void PairMLFF::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (vflag_atom && stages() && comm->nprocs > 1)
    error->all(FLERR,
               "pair_style {}: engine native has no per-atom virial on several ranks; use one rank "
               "or another engine",
               style_);
  check_positions();
  // LAMMPS' own sign of a new list; the same on all ranks.
  if (fresh_ || neighbor->ago == 0) {
    check_ghosts();
    if (!wide_ghosts()) {
      find_owners();
      edges_.set_nodes(atoms(), owner_atom_);
      if (stages())
        edges_.set_candidates(atoms());
    }
    fresh_ = false;
  }
  if (wide_ghosts())
    edges_.set_wide_nodes(atoms(), student_.spec.cutoff_A, student_.spec.layers);
  const bool staged = stages() && !vflag_atom;
  staged ? edges_.set_pairs(atoms(), student_.spec.cutoff_A)
         : edges_.set_edges(atoms(), student_.spec.cutoff_A);
  if (options_.guard)
    guard_pairs();
  staged ? compute_stages() : compute_edges();
}

void PairMLFF::check_positions() {
  const int count = 3 * atom->nlocal;
  const double *x = count ? atom->x[0] : nullptr;
  double sum = 0.0;
  for (int k = 0; k < count; k++)
    sum += x[k] * 0.0;
  if (sum == 0.0)
    return;
  for (int k = 0; k < count; k++)
    if (!std::isfinite(x[k]))
      error->one(FLERR, "pair_style {}: the position of atom {} is not finite at step {}", style_,
                 atom->tag_enable ? atom->tag[k / 3] : k / 3 + 1, update->ntimestep);
}

// Ghosts learn who they are images of, by the way that positions take.
void PairMLFF::find_owners() {
  const int count = atom->nlocal + atom->nghost;
  owner_rank_.assign(count, comm->me);
  owner_atom_.resize(count);
  for (int i = 0; i < atom->nlocal; i++)
    owner_atom_[i] = i;
  exchange_doubles(2);
  for (int i = 0; i < count; i++)
    if (owner_rank_[i] != comm->me)
      owner_atom_[i] = -1;
}

void PairMLFF::exchange_doubles(int count) {
  comm_forward = count;
  comm->forward_comm(this);
  comm_forward = most_doubles_;
}

void PairMLFF::exchange_features(int layer, bool reverse) {
  const int bytes = kernel_.mlff_stage_bytes(engine_, layer, reverse);
  if (comm->nprocs == 1 || bytes == 0)
    return; // every ghost is its owner's node, or its species says it all
  layer_ = layer;
  reverse_ = reverse;
  features_ = true;
  exchange_doubles((bytes + 7) / 8);
  features_ = false;
}

int PairMLFF::pack_forward_comm(int n, int *which, double *buffer, int, int *) {
  for (int k = 0; k < n; k++) {
    double *to = buffer + std::size_t(k) * comm_forward;
    if (!features_) {
      to[0] = owner_rank_[which[k]];
      to[1] = owner_atom_[which[k]];
    } else if (const std::int32_t node = edges_.node[which[k]]; node >= 0)
      kernel_.mlff_stage_pack(engine_, layer_, reverse_, 1, &node, to);
  }
  return n * comm_forward;
}

void PairMLFF::unpack_forward_comm(int n, int first, double *buffer) {
  for (int k = 0; k < n; k++) {
    const double *from = buffer + std::size_t(k) * comm_forward;
    if (!features_) {
      owner_rank_[first + k] = int(from[0]);
      owner_atom_[first + k] = int(from[1]);
    } else if (const std::int32_t node = edges_.node[first + k]; node >= edges_.num_owned)
      kernel_.mlff_stage_unpack(engine_, layer_, reverse_, 1, &node, from);
  }
}

void PairMLFF::compute_stages() {
  const int owned = edges_.num_owned, layers = student_.spec.layers;
  energies_.resize(owned);
  forces_.resize(3 * std::size_t(owned));
  const std::int32_t status = kernel_.mlff_stage_begin(
      engine_, owned, std::int64_t(edges_.atom.size()), edges_.species.data(), edges_.num_edges,
      edges_.num_two_sided, edges_.center.data(), edges_.neighbor.data(), edges_.vector.data());
  if (status != MLFF_OK)
    stop(kernel_.mlff_engine_error(engine_));
  for (int layer = 0; layer < layers; layer++) {
    kernel_.mlff_stage_send(engine_, layer);
    exchange_features(layer, false);
    kernel_.mlff_stage_receive(engine_, layer);
  }
  kernel_.mlff_stage_read_out(engine_);
  if (options_.guard && student_.domain.has_environments() && update->ntimestep % kGuardEvery == 0)
    options_.dtype == "float32" ? guard_environments<float>() : guard_environments<double>();
  for (int layer = layers - 1; layer >= 0; layer--) {
    kernel_.mlff_stage_update_reverse(engine_, layer);
    exchange_features(layer, true);
    kernel_.mlff_stage_receive_reverse(engine_, layer);
  }
  double derivative[9];
  kernel_.mlff_stage_end(engine_, energies_.data(), forces_.data(), derivative);
  for (int n = 0; n < owned; n++)
    for (int x = 0; x < 3; x++)
      atom->f[edges_.atom[n]][x] += energy_unit_ * forces_[3 * std::size_t(n) + x];
  add_energies();
  if (vflag_global) {
    const int order[6] = {0, 4, 8, 1, 2, 5}; // xx yy zz xy xz yz
    for (int c = 0; c < 6; c++)
      virial[c] -= energy_unit_ * derivative[order[c]];
  }
}

void PairMLFF::compute_edges() {
  const std::size_t nodes = edges_.atom.size();
  energies_.assign(nodes, 0.0);
  gradients_.resize(3 * std::size_t(edges_.num_edges));
  local_.assign(nodes, 0);
  std::fill_n(local_.begin(), edges_.num_owned, 1);
  if (engine_) {
    if (kernel_.mlff_engine_edges(engine_, std::int64_t(nodes), edges_.species.data(),
                                  local_.data(), edges_.num_edges, edges_.center.data(),
                                  edges_.neighbor.data(), edges_.vector.data(), energies_.data(),
                                  gradients_.data()) != MLFF_OK)
      stop(kernel_.mlff_engine_error(engine_));
  } else if (callback_->evaluate(callback_->id, std::int64_t(nodes), edges_.species.data(),
                                 local_.data(), edges_.num_edges, edges_.center.data(),
                                 edges_.neighbor.data(), edges_.vector.data(), energies_.data(),
                                 gradients_.data(), callback_->error,
                                 std::int64_t(sizeof callback_->error)))
    stop(callback_->error);
  add_energies();
  for (std::int64_t e = 0; e < edges_.num_edges; e++) {
    const int i = edges_.atom[edges_.center[e]], j = edges_.atom[edges_.neighbor[e]];
    const double *d = &edges_.vector[3 * e], *g = &gradients_[3 * e];
    for (int x = 0; x < 3; x++) {
      atom->f[i][x] += energy_unit_ * g[x];
      atom->f[j][x] -= energy_unit_ * g[x];
    }
    if (!vflag_either)
      continue;
    const double v[6] = {d[0] * g[0],
                         d[1] * g[1],
                         d[2] * g[2],
                         0.5 * (d[0] * g[1] + d[1] * g[0]),
                         0.5 * (d[0] * g[2] + d[2] * g[0]),
                         0.5 * (d[1] * g[2] + d[2] * g[1])};
    for (int c = 0; c < 6; c++) {
      if (vflag_global)
        virial[c] -= energy_unit_ * v[c];
      if (vflag_atom) {
        vatom[i][c] -= 0.5 * energy_unit_ * v[c];
        vatom[j][c] -= 0.5 * energy_unit_ * v[c];
      }
    }
  }
}

// LAMMPS must never go on with forces of a model that has failed.
void PairMLFF::add_energies() {
  double sum = 0.0;
  for (int n = 0; n < edges_.num_owned; n++)
    sum += energies_[n];
  if (!std::isfinite(sum))
    stop("the energy is not finite");
  if (options_.guard && student_.domain.has_environments())
    guard_energies();
  if (eflag_global)
    eng_vdwl += energy_unit_ * sum;
  if (eflag_atom)
    for (int n = 0; n < edges_.num_owned; n++)
      eatom[edges_.atom[n]] += energy_unit_ * energies_[n];
}

// Every step: pairs closer than any in training. A pair that has overlapped is told by the engine.
void PairMLFF::guard_pairs() {
  const KnownDomain &known = student_.domain;
  const double most =
      *std::max_element(known.shortest_A, known.shortest_A + known.species * known.species);
  for (std::int64_t e = 0; e < edges_.num_edges; e++) {
    const double *d = &edges_.vector[3 * e];
    const double squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    if (squared >= most * most)
      continue;
    const int i = edges_.center[e], j = edges_.neighbor[e];
    const double least = known.shortest_A[edges_.species[i] * known.species + edges_.species[j]];
    if (squared < least * least && squared >= student_.shortest_A * student_.shortest_A)
      leave(fmt::format("atoms {} and {} are {:.3f} Angstrom apart, closer than any such pair in "
                        "training ({:.3f} Angstrom)",
                        tag(i), tag(j), std::sqrt(squared), least));
  }
}

// Every step: energies of atoms out of the range that their element's had.
void PairMLFF::guard_energies() {
  const KnownDomain &known = student_.domain;
  for (int n = 0; n < edges_.num_owned; n++) {
    const int kind = edges_.species[n];
    if (!(energies_[n] >= known.low_eV[kind] && energies_[n] <= known.high_eV[kind]))
      leave(fmt::format("the energy of atom {} ({}) is outside of its element's range in training",
                        tag(n), student_.elements[kind]));
  }
}

// Now and then: surroundings unlike any in training.
template <class Real> void PairMLFF::guard_environments() {
  const int layer = student_.spec.layers - 1;
  std::vector<Real> scalars(student_.spec.hidden);
  int worst = -1;
  double most = 1.0;
  for (std::int32_t n = 0; n < edges_.num_owned; n++) {
    kernel_.mlff_scalars_sent(engine_, layer, 1, &n, scalars.data());
    const double score = student_.domain.unusual(edges_.species[n], scalars.data());
    if (score > most) {
      most = score;
      worst = n;
    }
  }
  if (worst >= 0)
    leave(fmt::format("the surroundings of atom {} ({}) are unlike any in training ({:.2f} of the "
                      "limit)",
                      tag(worst), student_.elements[edges_.species[worst]], most));
}

void PairMLFF::leave(const std::string &why) {
  error->one(FLERR, "pair_style {}: outside of the training domain at step {}: {}", style_,
             update->ntimestep, why);
}

tagint PairMLFF::tag(std::int32_t node) const {
  return atom->tag_enable ? atom->tag[edges_.atom[node]] : tagint(edges_.atom[node] + 1);
}

// Ends the run with one line; if two atoms are all but at one place, it says which.
void PairMLFF::stop(const std::string &why) {
  std::int64_t shortest = -1;
  double least = student_.shortest_A * student_.shortest_A;
  for (std::int64_t e = 0; e < edges_.num_edges; e++) {
    const double *d = &edges_.vector[3 * e];
    const double squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    if (squared < least) {
      least = squared;
      shortest = e;
    }
  }
  if (shortest >= 0)
    error->one(FLERR, "pair_style {}: atoms {} and {} are {:.4f} Angstrom apart at step {}", style_,
               tag(edges_.center[shortest]), tag(edges_.neighbor[shortest]), std::sqrt(least),
               update->ntimestep);
  error->one(FLERR, "pair_style {}: {} at step {}", style_, why, update->ntimestep);
}

double PairMLFF::memory_usage() {
  const auto size = [](const auto &v) { return double(v.capacity() * sizeof(v[0])); };
  const double engine = engine_ ? double(kernel_.mlff_engine_bytes(engine_)) : 0.0;
  return Pair::memory_usage() + engine + edges_.bytes() + size(owner_rank_) + size(owner_atom_) +
         size(energies_) + size(forces_) + size(gradients_) + size(local_);
}

} // namespace mlff_plugin
