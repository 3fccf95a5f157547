// Verlet list of half pairs for any cell: linear in the number of atoms, exact for small boxes.
#pragma once

#include <cstdint>
#include <vector>

#include "layout.h"

namespace mlff {

// Pairs of atoms ("slots"), those of one block after those of the other, two-sided ones first.
// A two-sided pair {i, j} stands once, at the smaller slot, and acts on both atoms. A one-sided
// entry (i, j) acts on i alone; its counterpart (j, i) stands at j. Pairs between the blocks of
// different threads and pairs of an atom with its own image are one-sided.
//
// Pairs of a few consecutive centers ("tile") stand together, sorted by their neighbor: what is
// read and written of a neighbor is then still in the L1 cache for the next center.
struct PairList {
  std::vector<PairRange> range;               // of each block
  std::vector<std::int32_t> center, neighbor; // slots
  std::vector<std::int32_t> image;            // index into NeighborList::shifts, 0: no shift
};

class NeighborList {
public:
  NeighborList(double cutoff, double skin, int tile) : cutoff_(cutoff), skin_(skin), tile_(tile) {}

  // Makes the list complete for these positions (n x 3), cell (rows are vectors) and periodicity.
  // `blocks` is the number of threads. The cell of an open direction is not used. Positions must
  // be finite and the cell not flat.
  void update(const double *positions, std::int64_t n, const double cell[9], const bool periodic[3],
              int blocks);

  // Forgets the stored list: the next update builds one.
  void reset() { reference_.clear(); }

  const PairList &pairs() const { return pairs_; }
  // Slot -> atom. Above kSortedFrom atoms neighbors in space are neighbors in memory.
  const std::vector<std::int32_t> &order() const { return order_; }
  // [blocks + 1] first slot of each block.
  const std::vector<std::int32_t> &block() const { return block_; }
  // Cartesian shifts of the images for the cell of the last update, 3 numbers each.
  const std::vector<double> &shifts() const { return shift_vectors_; }
  std::int64_t builds() const { return builds_; }

  // Below this, slots are the caller's atoms and results do not depend on the list's history.
  static constexpr std::int64_t kSortedFrom = 2048;

private:
  bool complete(const double *positions, std::int64_t n, const double cell[9]);
  double two_largest(const double *positions, std::int64_t n, const double drift[3],
                     double mean[3]) const;
  void build(const double *positions, std::int64_t n, const double cell[9]);
  void set_shifts(const double cell[9]);

  double cutoff_, skin_;
  int tile_;
  std::int64_t builds_ = 0;
  int blocks_ = 1;
  bool periodic_[3] = {false, false, false};
  double cell_[9] = {}, last_cell_[9] = {};
  double strain_[9] = {}, smallest_stretch_ = 1.0;
  bool strained_ = false;
  std::vector<double> reference_; // positions at the build
  PairList pairs_;
  std::vector<std::int32_t> order_, block_;
  std::vector<std::int32_t> images_; // 3 integers each, the first is 0 0 0
  std::vector<double> shift_vectors_;
};

} // namespace mlff
