// SPDX-License-Identifier: GPL-2.0-or-later
// LAMMPS' neighbor list as the graph of an engine: nodes are atoms, edges join those within the
// cutoff. A ghost whose owner is on this very rank is the owner's node, however many images of it
// there are, so a periodic box on one rank has no ghosts at all (unless ghosts are wide).
#pragma once

#include <cstdint>
#include <vector>

namespace LAMMPS_NS {
class NeighList;
}

namespace mlff_plugin {

class EdgeList {
public:
  // What LAMMPS knows about the atoms of this rank.
  struct Atoms {
    int num_local, num_all; // num_all: with ghosts
    const int *type;
    const double *const *x;
    const LAMMPS_NS::NeighList *list;
    const int *species; // [types + 1], -1: not ours
  };

  // `owner` [num_all]: for ghosts, the atom of this rank that it is an image of, or -1.
  // Nodes: atoms of the list, then ghosts of our types.
  void set_nodes(const Atoms &atoms, const std::vector<int> &owner);

  // For wide ghosts: nodes are the atoms within `depth` edges of those of the list, images each
  // for itself, and edges start at ghosts, too. To be called in each step.
  void set_wide_nodes(const Atoms &atoms, double cutoff, int depth);

  // Edges of the present positions, sorted by center.
  void set_edges(const Atoms &atoms, double cutoff);

  // For the native engine, which takes a pair of two nodes of this rank once: candidates of this
  // neighbor list, in the order that the engine likes; to be called after `set_nodes`.
  void set_candidates(const Atoms &atoms);
  // Those of them within the cutoff at the present positions, as edges; the first `num_two_sided`
  // stand for both directions.
  void set_pairs(const Atoms &atoms, double cutoff);

  int num_owned = 0;                 // nodes that this rank owns: the first
  std::vector<std::int32_t> species; // of the nodes
  std::vector<int> atom;             // of the nodes
  std::vector<int> node;             // of the atoms, -1: none
  std::int64_t num_edges = 0, num_two_sided = 0;
  std::vector<std::int32_t> center, neighbor; // of the edges, and more behind them
  std::vector<double> vector;

  double bytes() const;

private:
  void set_owned(const Atoms &atoms);
  int add(int atom, int kind);
  void reserve(std::int64_t edges);

  struct Candidate {
    std::int32_t center, neighbor; // nodes
    int atom;                      // what the neighbor is an image of, or itself
  };
  static void sort(std::vector<Candidate> &candidates);
  std::int64_t take(const Atoms &atoms, const std::vector<Candidate> &candidates, double limit,
                    std::int64_t from);

  std::vector<Candidate> two_sided_, one_sided_;
  std::vector<std::uint8_t> depth_; // of the nodes, if ghosts are wide
  int most_depth_ = 0;
};

} // namespace mlff_plugin
