// One evaluation from start to end: pairs, the network's stages, energies and forces.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layout.h"
#include "mlff_native.h"
#include "neighbors.h"
#include "student.h"
#include "team.h"

struct mlff_engine {
  mlff_engine(const mlff_options &options, double cutoff);

  // The functions of mlff_native.h of the same names.
  std::int32_t compute(std::int64_t count, const std::int32_t *kinds, const double *r,
                       const double *cell, const std::uint8_t *periodic, double *energies_out,
                       double *forces_out, double *virial_out);
  std::int32_t evaluate_edges(std::int64_t count, const std::int32_t *kinds,
                              const std::uint8_t *mask, std::int64_t num_edges,
                              const std::int32_t *centers, const std::int32_t *neighbors,
                              const double *given, double *energies_out, double *gradients);
  std::int32_t stage_begin(std::int64_t owned, std::int64_t count, const std::int32_t *kinds,
                           std::int64_t pairs, std::int64_t two_sided, const std::int32_t *centers,
                           const std::int32_t *neighbors, const double *given);
  void stage_read_out() { network->read_out(blocks[0], output.data()); }
  void stage_end(double *energies_out, double *forces_out, double *virial_out);

  std::int32_t fail(std::int32_t status, const std::string &why);
  std::int64_t bytes() const;

  mlff::StudentData student;
  mlff::Team team;
  mlff::NeighborList list;
  std::unique_ptr<mlff::Network> network;
  std::string instruction_set, error;
  bool single_precision = true;
  std::vector<mlff::Block> blocks;
  std::vector<std::int32_t> species; // of the present call, by slot
  std::int64_t num_pairs = 0;

private:
  struct Vector {
    double v[3];
  };
  struct alignas(64) Virial {
    double v[9];
  };
  static double (*raw(std::vector<Vector> &of))[3] { return &of.data()->v; }

  bool prepare(std::int64_t atoms, std::int64_t most_pairs);
  std::int32_t take_graph(std::int64_t count, const std::int32_t *kinds, std::int64_t most_pairs);
  std::int32_t check_species(std::int64_t count, const std::int32_t *given);
  double share(std::int64_t i, std::int64_t j) const {
    return local.empty() ? 1.0 : 0.5 * (local[i] + local[j]);
  }
  bool counts(std::int64_t i) const { return local.empty() || local[i]; }
  bool sound() const;

  // Of a block each, by its thread.
  void clear(const mlff::Block &b);
  void select(const mlff::Block &b);
  void set_geometry(const mlff::Block &b);
  void forward_and_back(const mlff::Block &b);
  void finish_energies(const mlff::Block &b);
  void collect_forces(const mlff::Block &b);

  void sum_virial(double *out) const;
  void sort_edges(std::int64_t num_edges, const std::int32_t *centers,
                  const std::int32_t *neighbors);

  // The structure of the present call, by slot.
  double shortest; // Å
  std::int64_t n = 0, num_owned = 0;
  std::vector<double> positions, forces, energies, output;
  std::vector<std::uint8_t> local;
  std::vector<std::int32_t> center, neighbor; // of the pairs inside the cutoff
  std::vector<std::int64_t> edge;             // of each pair, where edges were given
  std::vector<mlff::PairRange> ranges;        // of the blocks
  std::vector<Virial> virials;
  std::vector<std::int32_t> statuses;
  std::vector<Vector> vectors, derivatives; // of the pairs, and of the energy by them
};
