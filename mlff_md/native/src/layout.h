// What the instruction-set-specific kernels and the rest of the library share. Plain data and
// pure interfaces only: nothing here may be compiled differently by files with different flags.
#pragma once

#include <stdint.h>

namespace mlff {

constexpr int kPad = 16; // feature counts are padded to multiples of this
constexpr int padded(int count) { return (count + kPad - 1) / kPad * kPad; }

// Sizes and constants of a student, as in mlff_md.student.Architecture.
struct Shape {
  int hidden, vectors, quadrupoles, layers, num_rbf, mlp, readout, species;
  double norm_epsilon;

  // Messages that an atom sends in a layer: scalars, vectors along the pair, quadrupoles of the
  // pair; then its own vectors and quadrupoles, which it has not in the first layer.
  int messages(int layer) const { return hidden + (layer ? 2 : 1) * (vectors + quadrupoles); }
  // What the update of an atom produces: scalars and, unless it is the last, two kinds of gates.
  int gates(int layer) const { return hidden + (layer < layers - 1 ? vectors + quadrupoles : 0); }
  int update_inputs() const { return hidden + 2 * vectors + 2 * quadrupoles; }
};

// Weights in double precision as in the student file, row-major [outputs][inputs].
struct LayerWeights {
  const double *message_in, *message_in_bias, *message_out, *message_out_bias, *mixing,
      *quadrupole_mixing, *update_in, *update_in_bias, *update_out, *update_out_bias;
};

struct Weights {
  const double *embedding; // [species][hidden]
  const LayerWeights *layers;
  const double *readout_in, *readout_in_bias, *readout_out; // scaled to eV
  double readout_out_bias;
  // The filters of each layer as cubic splines of the distance: B-spline coefficients, [knots +
  // 2][messages]; rows k to k + 3 belong to distances from start + k step to the next knot.
  const double *const *filters;
  int knots;
  double start, step; // Å
};

// Slots [first, last) of one thread.
struct Block {
  int64_t first, last;
  int thread;
  const int32_t *species;
  const uint8_t *local; // null: all atoms count
};

// Pairs of one block: a two-sided one acts on both atoms, a one-sided one on its center alone.
struct PairRange {
  int64_t first, one_sided, last; // two-sided up to one_sided
};

// Pairs inside the cutoff, in the order in which they are worked through.
struct Pairs {
  const PairRange *range; // of each block
  const int32_t *center, *neighbor;
};

// One student for one instruction set and precision, with the memory of one structure.
class Network {
public:
  virtual ~Network();          // defined in engine.cpp, once for all instruction sets
  virtual bool ok() const = 0; // whether there was memory for the weights
  virtual int64_t bytes() const = 0;
  virtual bool reserve(int64_t atoms, int64_t pairs, int threads) = 0;

  // Geometry of the pairs [first, last) from their vectors from center to neighbor, Å.
  virtual void set_geometry(int64_t first, int64_t last, const double (*vectors)[3]) = 0;
  // The same for a pair within the short-range prior: the distance that the network is shown, its
  // derivative by the distance, and the prior's (eV / Å).
  virtual void set_short_pair(int64_t pair, const double vector[3], double distance, double seen,
                              double slope, double prior_derivative) = 0;
  // Derivatives of the energy by the vectors, eV / Å.
  virtual void gradients(int64_t first, int64_t last, double (*out)[3]) const = 0;
  virtual void set_pairs(const Pairs &pairs) = 0;

  // Stages of an evaluation, each for the slots of one block. Before `receive` all blocks must
  // have done `send`; before `receive_reverse` all must have done `update_reverse`.
  virtual void begin(const Block &block) = 0;
  virtual void send(const Block &block, int layer) = 0;
  virtual void receive(const Block &block, int layer) = 0;
  virtual void update(const Block &block, int layer) = 0;
  virtual void read_out(const Block &block, double *energies) = 0;
  virtual void update_reverse(const Block &block, int layer) = 0;
  virtual void receive_reverse(const Block &block, int layer) = 0;
  virtual void send_reverse(const Block &block, int layer) = 0;

  // The scalars that an atom sent in a layer, in the network's precision.
  virtual const void *scalars_sent(int64_t slot, int layer, int32_t species) const = 0;

  // What the pairs of a layer read of a neighbor, for exchange between processes: what it sent
  // before `receive`, its adjoints before `receive_reverse`. None where the species says it all.
  virtual int exchanged_bytes(int layer, bool reverse) const = 0;
  virtual void pack(int64_t slot, int layer, bool reverse, void *to) const = 0;
  virtual void unpack(int64_t slot, int layer, bool reverse, const void *from) = 0;
};

// What is compiled once for each instruction set and precision.
struct Kernel {
  Network *(*make)(const Shape &, const Weights &);
  // Runs multiply-adds on registers; returns the number of floating-point operations.
  double (*spin)(int64_t rounds, volatile double *sink);
};

// `make` is null where the compiler had no support for the instruction set.
Kernel avx512_kernel(bool single_precision);
Kernel avx2_kernel(bool single_precision);
Kernel plain_kernel(bool single_precision);

} // namespace mlff
