// SPDX-License-Identifier: GPL-2.0-or-later
// pair_style mlff: a student as a many-body potential of LAMMPS.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edge_list.h"
#include "native_kernel.h"
#include "packed_student.h"
#include "pair.h"
#include "python_engine.h"

namespace mlff_plugin {

struct PairOptions {
  std::string engine = "auto", dtype = "float32", device = "cpu";
  int threads = 1;
  bool check_masses = true;
  bool guard = false;
};

class PairMLFF : public LAMMPS_NS::Pair {
public:
  explicit PairMLFF(LAMMPS_NS::LAMMPS *lammps);
  ~PairMLFF() override;

  void settings(int narg, char **arg) override;
  void coeff(int narg, char **arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;
  int pack_forward_comm(int n, int *list, double *buffer, int, int *) override;
  void unpack_forward_comm(int n, int first, double *buffer) override;
  double memory_usage() override;

protected:
  // A student and the engine that evaluates it, for the elements of the atom types.
  void load(const std::string &student, int num_symbols, char **symbols);

  PairOptions options_;        // as in the deck
  std::string style_ = "mlff"; // in messages

private:
  void read_student(const std::string &name, std::string *kernel_path);
  void map_elements(int count, char **symbols);
  void open_native(const std::string &kernel_path);
  void open_python(const std::string &name);
  void close();
  void check_masses();
  void check_system();
  void check_exclusions() const;
  bool has_atoms_in(int which_group) const;
  void announce();

  // One thread: layer by layer, exchanging features between ranks. Else, and in Python: the whole
  // graph at once, with ghosts as far as the student sees.
  bool stages() const { return engine_ && options_.threads == 1; }
  bool wide_ghosts() const;
  EdgeList::Atoms atoms() const;
  void check_positions();
  void check_ghosts();
  void find_owners();
  void compute_stages();
  void compute_edges();
  void exchange_features(int layer, bool reverse);
  void exchange_doubles(int count);
  void add_energies();
  void guard_pairs();
  void guard_energies();
  template <class Real> void guard_environments();
  LAMMPS_NS::tagint tag(std::int32_t node) const;
  [[noreturn]] void leave(const std::string &why);
  [[noreturn]] void stop(const std::string &why);

  PackedStudent student_;
  std::vector<int> species_; // [types + 1], -1: a type that is not ours
  double energy_unit_ = 1.0; // eV in LAMMPS' units
  bool announced_ = false;

  Kernel kernel_;
  mlff_engine *engine_ = nullptr; // native
  std::unique_ptr<Callback> callback_;

  EdgeList edges_;
  std::vector<int> owner_rank_, owner_atom_; // of all atoms: who they are images of
  bool fresh_ = true;                        // no nodes yet
  std::vector<double> energies_, forces_, gradients_;
  std::vector<std::uint8_t> local_;

  // What is being exchanged between ranks: features of a layer, or owners.
  bool features_ = false;
  int layer_ = 0, reverse_ = 0;
  int most_doubles_ = 2; // of an atom, in any exchange
};

} // namespace mlff_plugin
