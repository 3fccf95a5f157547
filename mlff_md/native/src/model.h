// The weights of a student as the loops read them: padded, reordered and packed, once.
#pragma once

#include "gemm.h"
#include "layout.h"
#include "memory.h"
#include "pairs.h"

namespace {

using mlff::padded;

// The order in which features are stored against that of the weights: groups are padded one by
// one, and groups that are read together alternate chunk by chunk.
template <int W> class FeatureOrder {
public:
  int total() const { return total_; }
  int unpadded() const { return unpadded_; }
  int operator[](int position) const { return source_[position]; } // -1: padding

  FeatureOrder &append(int size) { return interleave(size, unpadded_); }
  // One or two groups of `size` features each, that stand at these places among the weights.
  FeatureOrder &interleave(int size, int first, int second = -1) {
    for (int c = 0; c < padded(size); c += W) {
      chunk(size, first, c);
      if (second >= 0)
        chunk(size, second, c);
    }
    unpadded_ += second < 0 ? size : 2 * size;
    return *this;
  }

private:
  void chunk(int size, int from, int c) {
    for (int k = c; k < c + W; k++)
      source_[total_++] = k < size ? from + k : -1;
  }
  static constexpr int kMost = 5 * (4096 + mlff::kPad);
  int total_ = 0, unpadded_ = 0;
  int source_[kMost];
};

template <class Real, int W, int kRows, int kVecs> class StudentModel {
  typedef Simd<Real, W> S;
  typedef FeatureOrder<W> Order;

public:
  typedef Gemm<Real, W, kRows, kVecs> Product;

  struct Layer {
    bool first, last;
    int sent, gates; // numbers per atom
    Table<Real> table;
    Product message_in, message_out, mixing, turning, update_in, update_out;
    Product message_in_t, message_out_t, mixing_t, turning_t, update_in_t, update_out_t;
  };

  StudentModel(const mlff::Shape &shape, const mlff::Weights &weights)
      : F(padded(shape.hidden)), V(padded(shape.vectors)), Q(padded(shape.quadrupoles)),
        H(padded(shape.mlp)), D(padded(shape.readout)), L(shape.layers), inputs(F + 2 * V + 2 * Q),
        knots(weights.knots), norm_epsilon(Real(shape.norm_epsilon)), shape_(shape) {
    layers_ = new Layer[L];
    Taker count = {nullptr, 0};
    place(weights, count);
    if (!memory_.reserve(count.taken))
      return;
    Taker take = {memory_.get(), 0};
    place(weights, take);
    ok_ = true;
  }
  ~StudentModel() { delete[] layers_; }
  StudentModel(const StudentModel &) = delete;
  StudentModel &operator=(const StudentModel &) = delete;

  bool ok() const { return ok_; } // whether there was memory
  size_t bytes() const { return memory_.bytes(); }
  const Layer &layer(int l) const { return layers_[l]; }

  const int F, V, Q, H, D, L; // padded sizes, number of layers
  const int inputs, knots;
  const Real norm_epsilon;
  const Real *embedding = nullptr;  // [species][F]
  const Real *first_sent = nullptr; // [species][sent]: the first layer's message_out
  Product readout, readout_t;
  const Real *readout_out = nullptr; // [D]
  double readout_bias = 0.0;

private:
  // Takes memory for weights twice: once to count, once for good.
  struct Taker {
    Real *next;
    size_t taken;
    Real *operator()(size_t count) {
      Real *here = next ? next + taken : nullptr;
      taken += (count + 15) / 16 * 16;
      return here;
    }
  };

  void place(const mlff::Weights &w, Taker &take) {
    const int f = shape_.hidden, v = shape_.vectors, q = shape_.quadrupoles;
    const Order hidden = Order().append(f), mlp = Order().append(shape_.mlp);
    const Order vectors = Order().append(v), turned = Order().append(q);
    const Order mixed = Order().interleave(v, 0, v);
    const Order updated = Order().append(f).append(v).append(v).append(q).append(q);
    const Order readout_hidden = Order().append(shape_.readout);
    Real *species_features = take(size_t(shape_.species) * F);
    embedding = species_features;
    for (int z = 0; species_features && z < shape_.species; z++)
      for (int c = 0; c < F; c++)
        species_features[z * F + c] = c < f ? Real(w.embedding[z * f + c]) : 0;
    for (int l = 0; l < L; l++) {
      Layer &y = layers_[l];
      const mlff::LayerWeights &from = w.layers[l];
      y.first = l == 0;
      y.last = l == L - 1;
      const int carried = f + v + q; // where the factors of what is carried stand
      const Order along = Order().append(f).append(v).append(q);
      const Order sent = y.first ? along : Order(along).append(v).append(q);
      const Order filters =
          y.first ? along
                  : Order().append(f).interleave(v, f, carried).interleave(q, f + v, carried + v);
      const Order gates = y.last ? hidden : along;
      y.sent = sent.total();
      y.gates = gates.total();
      y.table = place_table(w.filters[l], filters, take);
      dense(take, y.message_in, y.message_in_t, from.message_in, from.message_in_bias, hidden, mlp);
      dense(take, y.message_out, y.message_out_t, from.message_out, from.message_out_bias, mlp,
            sent);
      dense(take, y.mixing, y.mixing_t, from.mixing, nullptr, vectors, mixed);
      dense(take, y.turning, y.turning_t, from.quadrupole_mixing, nullptr, turned, turned);
      dense(take, y.update_in, y.update_in_t, from.update_in, from.update_in_bias, updated, mlp);
      dense(take, y.update_out, y.update_out_t, from.update_out, from.update_out_bias, mlp, gates);
    }
    dense(take, readout, readout_t, w.readout_in, w.readout_in_bias, hidden, readout_hidden);
    Real *out = take(D);
    readout_out = out;
    for (int c = 0; out && c < D; c++)
      out[c] = c < shape_.readout ? Real(w.readout_out[c]) : 0;
    readout_bias = w.readout_out_bias;
    place_first_sent(take);
  }

  Table<Real> place_table(const double *filters, const Order &order, Taker &take) {
    const int M = order.total(), stride = order.unpadded();
    Real *values = take(size_t(knots + 2) * M), *rises = take(size_t(knots + 1) * M);
    for (int row = 0; values && row < knots + 2; row++)
      for (int c = 0; c < M; c++) {
        const double *from = filters + size_t(row) * stride;
        const double here = order[c] < 0 ? 0 : from[order[c]];
        const double next = order[c] < 0 || row > knots ? 0 : from[stride + order[c]];
        values[size_t(row) * M + c] = Real(here);
        if (row <= knots)
          rises[size_t(row) * M + c] = Real(next - here);
      }
    return {values, rises};
  }

  // What atoms send in the first layer depends on their species alone.
  __attribute__((noinline)) void place_first_sent(Taker &take) {
    const Layer &y = layers_[0];
    Real *first = take(size_t(shape_.species) * y.sent), *scratch = take(H);
    first_sent = first;
    for (int z = 0; first && z < shape_.species; z++) {
      y.message_in.run(embedding + z * F, F, 1, scratch, H, Start::kBias);
      for (int c = 0; c < H; c += W)
        S::store(scratch + c, S::load(scratch + c) * S::sigmoid(S::load(scratch + c)));
      y.message_out.run(scratch, H, 1, first + size_t(z) * y.sent, y.sent, Start::kBias);
    }
  }

  // Not inline: it is called once for every layer, and packs slowly enough as it is.
  __attribute__((noinline)) void dense(Taker &take, Product &forward, Product &reverse,
                                       const double *w, const double *bias, const Order &in,
                                       const Order &out) {
    const int rows = in.total(), cols = out.total(), stride = in.unpadded();
    Real *to = take(size_t(rows) * cols), *back = take(size_t(rows) * cols);
    Real *shift = bias ? take(cols) : nullptr;
    if (!to)
      return;
    const auto at = [&](int r, int c) {
      return in[r] < 0 || out[c] < 0 ? Real(0) : Real(w[size_t(out[c]) * stride + in[r]]);
    };
    for (int c = 0; bias && c < cols; c++)
      shift[c] = out[c] < 0 ? 0 : Real(bias[out[c]]);
    forward.pack(to, rows, cols, at, shift);
    reverse.pack(back, cols, rows, [&](int r, int c) { return at(c, r); }, nullptr);
  }

  const mlff::Shape shape_;
  Layer *layers_;
  Buffer<Real> memory_;
  bool ok_ = false;
};

} // namespace
