// The student network and its reverse pass on half pairs. mlff_md/engines/reversible_layer.py
// has the same arithmetic in plain tensors.
//
// The filters depend on a pair's distance alone. They are tabulated once as cubic B-splines, and
// the derivative that is used is that of the spline: forces are the exact gradient of the energy
// that is computed. Nothing is kept of a pair but its geometry.
#pragma once

#include "atoms.h"
#include "layout.h"
#include "memory.h"
#include "model.h"
#include "pairs.h"
#include "updates.h"

namespace {

using mlff::Block;

template <class Real, int W, int kRows, int kVecs>
class StudentNetwork final : public mlff::Network {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  typedef StudentModel<Real, W, kRows, kVecs> Model;
  typedef typename Model::Layer Layer;
  typedef PairGeometry<Real> Pair;

public:
  StudentNetwork(const mlff::Shape &shape, const mlff::Weights &weights)
      : model_(shape, weights), F_(model_.F), V_(model_.V), Q_(model_.Q), H_(model_.H),
        D_(model_.D), L_(model_.L), start_(weights.start), per_step_(1.0 / weights.step),
        atom_{V_, Q_, model_.norm_epsilon}, atoms_(L_) {}

  bool ok() const override { return model_.ok(); }

  int64_t bytes() const override {
    return int64_t(model_.bytes() + atoms_.bytes() + pairs_.bytes() + rows_.bytes() +
                   scratch_.bytes());
  }

  bool reserve(int64_t atoms, int64_t pairs, int threads) override {
    return atoms_.reserve(model_, atoms) && pairs_.reserve(size_t(pairs)) &&
           rows_.reserve(size_t(pairs)) && scratch_.reserve(scratch_size() * size_t(threads));
  }

  void set_geometry(int64_t first, int64_t last, const double (*vectors)[3]) override {
    for (int64_t p = first; p < last; p++) {
      const double *d = vectors[p];
      const double r = __builtin_sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
      set_pair(p, d, r, r, 1.0, 0.0);
    }
  }

  void set_short_pair(int64_t p, const double vector[3], double distance, double seen, double slope,
                      double prior_derivative) override {
    set_pair(p, vector, distance, seen, slope, prior_derivative);
  }

  void gradients(int64_t first, int64_t last, double (*out)[3]) const override {
    for (int64_t p = first; p < last; p++) {
      const Pair &o = pairs_.get()[p];
      double along = 0.0;
      for (int k = 0; k < 3; k++)
        along += double(o.g[k]) * o.u[k];
      for (int k = 0; k < 3; k++)
        out[p][k] = (o.g[k] - along * o.u[k]) * o.inverse + double(o.g[3]) * o.u[k];
    }
  }

  void set_pairs(const mlff::Pairs &pairs) override { list_ = pairs; }

  void begin(const Block &b) override {
    for (int64_t i = b.first; i < b.last; i++)
      copy(atoms_.h + i * F_, model_.embedding + size_t(b.species[i]) * F_, F_);
    clear(atoms_.v + b.first * 3 * V_, (b.last - b.first) * 3 * V_);
    clear(atoms_.t + b.first * 5 * Q_, (b.last - b.first) * 5 * Q_);
  }

  void send(const Block &b, int l) override {
    const Layer &y = model_.layer(l);
    const Kept<Real> &k = atoms_.layers[l];
    const int64_t n = b.last - b.first;
    Real *hidden = scratch(b);
    set_aside(atoms_.h + b.first * F_, atoms_.before + b.first * F_, n * F_);
    if (y.first)
      return;
    set_aside(atoms_.v + b.first * 3 * V_, k.vectors + b.first * 3 * V_, n * 3 * V_);
    set_aside(atoms_.t + b.first * 5 * Q_, k.quadrupoles + b.first * 5 * Q_, n * 5 * Q_);
    in_chunks(b, [&](int64_t i, int m) {
      Real *slope = k.message_slope + i * H_, *sent = k.sent + i * y.sent;
      y.message_in.run(atoms_.before + i * F_, F_, m, slope, H_, Start::kBias);
      silu(slope, hidden, m * H_);
      y.message_out.run(hidden, H_, m, sent, y.sent, Start::kBias);
      for (int a = 0; a < m; a++) {
        const Real *factors = sent + a * y.sent + F_ + V_ + Q_;
        scale<3>(k.vectors + (i + a) * 3 * V_, factors, k.offered_vectors + (i + a) * 3 * V_, V_);
        scale<5>(k.quadrupoles + (i + a) * 5 * Q_, factors + V_,
                 k.offered_quadrupoles + (i + a) * 5 * Q_, Q_);
      }
    });
  }

  void receive(const Block &b, int l) override {
    with_sizes([&](auto sizes) {
      model_.layer(l).first ? receive_layer<decltype(sizes), true>(b, l)
                            : receive_layer<decltype(sizes), false>(b, l);
    });
  }

  void update(const Block &b, int l) override {
    const Layer &y = model_.layer(l);
    const Kept<Real> &k = atoms_.layers[l];
    Real *input = scratch(b), *hidden = input + kChunk * model_.inputs, *out = hidden + kChunk * H_;
    in_chunks(b, [&](int64_t i, int m) {
      add(atoms_.h + i * F_, atoms_.before + i * F_, m * F_);
      if (!y.first) {
        add(atoms_.v + i * 3 * V_, k.vectors + i * 3 * V_, m * 3 * V_);
        add(atoms_.t + i * 5 * Q_, k.quadrupoles + i * 5 * Q_, m * 5 * Q_);
      }
      y.mixing.template run<3>(atoms_.v + i * 3 * V_, 3 * V_, m, k.mixed + i * 6 * V_, 6 * V_,
                               Start::kZero);
      if (Q_)
        y.turning.template run<5>(atoms_.t + i * 5 * Q_, 5 * Q_, m, k.turned + i * 5 * Q_, 5 * Q_,
                                  Start::kZero);
      for (int a = 0; a < m; a++)
        invariants(k, i + a, input + a * model_.inputs);
      Real *slope = k.update_slope + i * H_;
      y.update_in.run(input, model_.inputs, m, slope, H_, Start::kBias);
      silu(slope, hidden, m * H_);
      y.update_out.run(hidden, H_, m, out, y.gates, Start::kBias);
      for (int a = 0; a < m; a++) {
        add(atoms_.h + (i + a) * F_, out + a * y.gates, F_);
        if (!y.last)
          open_gates(k, i + a, out + a * y.gates + F_);
      }
    });
  }

  // Atomic energies and the adjoints of the last features.
  void read_out(const Block &b, double *energies) override {
    Real *hidden = scratch(b);
    Real *gh = atoms_.gh[(L_ - 1) % 2];
    in_chunks(b, [&](int64_t i, int m) {
      model_.readout.run(atoms_.h + i * F_, F_, m, hidden, D_, Start::kBias);
      for (int a = 0; a < m; a++) {
        Real *o = hidden + a * D_;
        const bool counts = !b.local || b.local[i + a];
        double sum = 0.0;
        for (int c = 0; c < D_; c += W) {
          const Vec x = S::load(o + c), s = S::sigmoid(x), w = S::load(model_.readout_out + c);
          Real term[W];
          S::store(term, x * s * w);
          for (int e = 0; e < W; e++)
            sum += double(term[e]);
          S::store(o + c, counts ? w * (s * (Real(1) + x * (Real(1) - s))) : Vec{});
        }
        energies[i + a] = counts ? sum + model_.readout_bias : 0.0;
      }
      model_.readout_t.run(hidden, D_, m, gh + i * F_, F_, Start::kZero);
    });
  }

  // From the adjoints after the update of layer l to those before it, in place.
  void update_reverse(const Block &b, int l) override {
    const Layer &y = model_.layer(l);
    const Kept<Real> &k = atoms_.layers[l];
    Real *gh = atoms_.gh[l % 2], *gv = atoms_.gv[l % 2], *gt = atoms_.gt[l % 2];
    Real *out = scratch(b), *hidden = out + kChunk * (F_ + V_ + Q_), *input = hidden + kChunk * H_;
    Real *mixed = input + kChunk * model_.inputs, *turned = mixed + kChunk * 6 * V_;
    in_chunks(b, [&](int64_t i, int m) {
      for (int a = 0; a < m; a++) {
        copy(out + a * y.gates, gh + (i + a) * F_, F_);
        if (!y.last)
          atom_.gates_reverse(k.mixed + (i + a) * 6 * V_, k.turned + (i + a) * 5 * Q_,
                              gv + (i + a) * 3 * V_, out + a * y.gates + F_);
      }
      y.update_out_t.run(out, y.gates, m, hidden, H_, Start::kZero);
      multiply(hidden, k.update_slope + i * H_, m * H_);
      y.update_in_t.run(hidden, H_, m, input, model_.inputs, Start::kZero);
      for (int a = 0; a < m; a++) {
        const int64_t at = i + a;
        add(gh + at * F_, input + a * model_.inputs, F_);
        atom_.reverse(k.mixed + at * 6 * V_, k.turned + at * 5 * Q_, k.length + at * V_,
                      k.size + at * Q_, k.gates + at * (V_ + Q_),
                      y.last ? nullptr : gv + at * 3 * V_, input + a * model_.inputs + F_,
                      mixed + a * 6 * V_, turned + a * 5 * Q_);
      }
      const Start start = y.last ? Start::kZero : Start::kAdd;
      y.mixing_t.template run<3>(mixed, 6 * V_, m, gv + i * 3 * V_, 3 * V_, start);
      if (Q_)
        y.turning_t.template run<5>(turned, 5 * Q_, m, gt + i * 5 * Q_, 5 * Q_, start);
    });
  }

  // Pair gradients of layer l and, unless it is the first, the adjoints of what was offered.
  void receive_reverse(const Block &b, int l) override {
    with_sizes([&](auto sizes) {
      model_.layer(l).first ? reverse_layer<decltype(sizes), true>(b, l)
                            : reverse_layer<decltype(sizes), false>(b, l);
    });
  }

  // From the adjoints of what atoms sent and offered in layer l to those of the features before it.
  void send_reverse(const Block &b, int l) override {
    const Layer &y = model_.layer(l);
    if (y.first)
      return;
    const Kept<Real> &k = atoms_.layers[l];
    const int M = y.sent, now = l % 2;
    Real *hidden = scratch(b);
    in_chunks(b, [&](int64_t i, int m) {
      for (int64_t a = i; a < i + m; a++) {
        const int carried = F_ + V_ + Q_;
        const Real *factors = k.sent + a * M + carried;
        Real *bar = atoms_.sent_bar + a * M + carried;
        scale_reverse<3>(k.vectors + a * 3 * V_, factors, atoms_.gv[now] + a * 3 * V_,
                         atoms_.gv[1 - now] + a * 3 * V_, bar, V_);
        scale_reverse<5>(k.quadrupoles + a * 5 * Q_, factors + V_, atoms_.gt[now] + a * 5 * Q_,
                         atoms_.gt[1 - now] + a * 5 * Q_, bar + V_, Q_);
      }
      y.message_out_t.run(atoms_.sent_bar + i * M, M, m, hidden, H_, Start::kZero);
      multiply(hidden, k.message_slope + i * H_, m * H_);
      Real *next = atoms_.gh[1 - now] + i * F_;
      copy(next, atoms_.gh[now] + i * F_, m * F_);
      y.message_in_t.run(hidden, H_, m, next, F_, Start::kAdd);
    });
  }

  const void *scalars_sent(int64_t i, int l, int32_t species) const override {
    return model_.layer(l).first ? model_.first_sent + size_t(species) * model_.layer(l).sent
                                 : atoms_.layers[l].sent + i * model_.layer(l).sent;
  }

  int exchanged_bytes(int l, bool reverse) const override {
    const int vectors = 3 * V_ + 5 * Q_;
    if (reverse)
      return int(sizeof(Real)) * (F_ + vectors);
    return model_.layer(l).first ? 0 : int(sizeof(Real)) * (F_ + V_ + Q_ + vectors);
  }
  void pack(int64_t i, int l, bool reverse, void *to) const override {
    exchange(i, l, reverse, [&, at = static_cast<Real *>(to)](Real *data, int count) mutable {
      copy(at, data, count);
      at += count;
    });
  }
  void unpack(int64_t i, int l, bool reverse, const void *from) override {
    exchange(i, l, reverse,
             [&, at = static_cast<const Real *>(from)](Real *data, int count) mutable {
               copy(data, at, count);
               at += count;
             });
  }

private:
  inline __attribute__((always_inline)) void set_pair(int64_t p, const double *vector,
                                                      double distance, double seen, double slope,
                                                      double prior_derivative) {
    Pair &o = pairs_.get()[p];
    const double inverse = 1.0 / distance;
    for (int k = 0; k < 3; k++) {
      o.u[k] = Real(vector[k] * inverse);
      o.g[k] = 0;
    }
    o.inverse = Real(inverse);
    o.g[3] = Real(prior_derivative);
    double place = (seen - start_) * per_step_;
    place = place < model_.knots - 1 ? place : model_.knots - 1; // from the cutoff on all is zero
    int k = int(place);
    k = k < 0 ? 0 : k > model_.knots - 2 ? model_.knots - 2 : k;
    rows_.get()[p] = k;
    // In terms of the rises r_k = c_(k+1) - c_k the spline is c_1 - B_0 r_0 + (B_2 + B_3) r_1 + B_3
    // r_2: no small difference of large numbers, neither here nor in the derivative.
    const Real t = Real(place - k), s = 1 - t, f = Real(slope * per_step_), sixth = Real(1.0 / 6.0);
    o.b[0] = -s * s * s * sixth;
    o.b[1] = (s * s * (3 * s - 6) + 4 + t * t * t) * sixth;
    o.b[2] = t * t * t * sixth;
    o.d[0] = Real(0.5) * s * s * f;
    o.d[1] = ((2 - Real(1.5) * s) * s + Real(0.5) * t * t) * f;
    o.d[2] = Real(0.5) * t * t * f;
  }

  static constexpr int kChunk = 24; // atoms that go through the dense layers together

  static void copy(Real *to, const Real *from, int64_t count) {
    memcpy(to, from, size_t(count) * sizeof(Real));
  }
  // Messages are summed from zero and added to what was there in the end: less is rounded off.
  static void set_aside(Real *features, Real *to, int64_t count) {
    copy(to, features, count);
    clear(features, count);
  }
  static void clear(Real *to, int64_t count) { memset(to, 0, size_t(count) * sizeof(Real)); }
  static void add(Real *to, const Real *what, int64_t count) {
    for (int64_t c = 0; c < count; c += W)
      S::store(to + c, S::load(to + c) + S::load(what + c));
  }
  // out = silu(x), and x becomes the derivative, which is all that the reverse pass needs of it.
  static void silu(Real *x, Real *out, int count) {
    for (int c = 0; c < count; c += W) {
      const Vec v = S::load(x + c), s = S::sigmoid(v);
      S::store(out + c, v * s);
      S::store(x + c, s * (Real(1) + v * (Real(1) - s)));
    }
  }
  static void multiply(Real *bar, const Real *what, int count) {
    for (int c = 0; c < count; c += W)
      S::store(bar + c, S::load(bar + c) * S::load(what + c));
  }

  // to = what times a factor for each feature.
  template <int kPlanes>
  static void scale(const Real *what, const Real *factor, Real *to, int features) {
    for (int c = 0; c < features; c += W)
      for (int x = 0; x < kPlanes; x++)
        S::store(to + kPlanes * c + x * W,
                 S::load(what + kPlanes * c + x * W) * S::load(factor + c));
  }
  // Its reverse: `to` holds the adjoint of the product and becomes that of `what`, to which
  // `further` is added; `factor_bar` becomes that of the factor.
  template <int kPlanes>
  static void scale_reverse(const Real *what, const Real *factor, const Real *further, Real *to,
                            Real *factor_bar, int features) {
    for (int c = 0; c < features; c += W) {
      const Vec f = S::load(factor + c);
      Vec sum = {};
      for (int x = 0; x < kPlanes; x++) {
        const int at = kPlanes * c + x * W;
        const Vec bar = S::load(to + at);
        sum += bar * S::load(what + at);
        S::store(to + at, S::load(further + at) + bar * f);
      }
      S::store(factor_bar + c, sum);
    }
  }

  template <class Work> static void in_chunks(const Block &b, Work work) {
    for (int64_t i = b.first; i < b.last; i += kChunk)
      work(i, int(b.last - i < kChunk ? b.last - i : kChunk));
  }
  size_t scratch_size() const { // more than enough for the sums of a tile's centers, too
    return size_t(kChunk) * (F_ + V_ + Q_ + H_ + model_.inputs + 6 * V_ + 5 * Q_ + D_) + 64;
  }
  Real *scratch(const Block &b) const { return scratch_.get() + size_t(b.thread) * scratch_size(); }

  // The sizes of the shipped students as constants: a sixth faster than sizes at run time.
  template <class Work> void with_sizes(Work work) const {
    if (sizeof(Real) == 4 && F_ == 64 && V_ == 32 && Q_ == 16)
      work(Known<64, 32, 16>());
    else if (sizeof(Real) == 4 && F_ == 32 && V_ == 16 && Q_ == 16)
      work(Known<32, 16, 16>());
    else if (sizeof(Real) == 4 && F_ == 128 && V_ == 64 && Q_ == 32)
      work(Known<128, 64, 32>());
    else
      work(Known<0, 0, 0>());
  }

  template <class Visit> void exchange(int64_t i, int l, bool reverse, Visit visit) const {
    const Kept<Real> &k = atoms_.layers[l];
    if (reverse) {
      visit(atoms_.gh[l % 2] + i * F_, F_);
      visit(atoms_.gv[l % 2] + i * 3 * V_, 3 * V_);
      visit(atoms_.gt[l % 2] + i * 5 * Q_, 5 * Q_);
    } else if (!model_.layer(l).first) {
      visit(k.sent + i * model_.layer(l).sent, F_ + V_ + Q_);
      visit(k.offered_vectors + i * 3 * V_, 3 * V_);
      visit(k.offered_quadrupoles + i * 5 * Q_, 5 * Q_);
    }
  }

  template <class Sizes, bool kFirst> void receive_layer(const Block &b, int l) {
    const Layer &y = model_.layer(l);
    const Kept<Real> &k = atoms_.layers[l];
    const MessageArrays<Real> m = {F_,
                                   V_,
                                   Q_,
                                   y.table,
                                   pairs_.get(),
                                   rows_.get(),
                                   list_.center,
                                   list_.neighbor,
                                   b.species,
                                   kFirst ? model_.first_sent : k.sent,
                                   k.offered_vectors,
                                   k.offered_quadrupoles,
                                   atoms_.h,
                                   atoms_.v,
                                   atoms_.t,
                                   scratch(b)};
    const mlff::PairRange &range = list_.range[b.thread];
    receive_pairs<Real, W, Sizes, kFirst, true>(m, range.first, range.one_sided);
    receive_pairs<Real, W, Sizes, kFirst, false>(m, range.one_sided, range.last);
  }

  template <class Sizes, bool kFirst> void reverse_layer(const Block &b, int l) {
    const Layer &y = model_.layer(l);
    const Kept<Real> &k = atoms_.layers[l];
    const int now = l % 2;
    const int64_t n = b.last - b.first;
    if (!kFirst) {
      clear(atoms_.sent_bar + b.first * y.sent, n * y.sent);
      clear(atoms_.gv[1 - now] + b.first * 3 * V_, n * 3 * V_);
      clear(atoms_.gt[1 - now] + b.first * 5 * Q_, n * 5 * Q_);
    }
    const ReverseArrays<Real> m = {F_,
                                   V_,
                                   Q_,
                                   y.table,
                                   pairs_.get(),
                                   rows_.get(),
                                   list_.center,
                                   list_.neighbor,
                                   b.species,
                                   kFirst ? model_.first_sent : k.sent,
                                   k.offered_vectors,
                                   k.offered_quadrupoles,
                                   atoms_.gh[now],
                                   atoms_.gv[now],
                                   atoms_.gt[now],
                                   atoms_.sent_bar,
                                   atoms_.gv[1 - now],
                                   atoms_.gt[1 - now]};
    const mlff::PairRange &range = list_.range[b.thread];
    reverse_pairs<Real, W, Sizes, kFirst, true>(m, range.first, range.one_sided);
    reverse_pairs<Real, W, Sizes, kFirst, false>(m, range.one_sided, range.last);
  }

  void invariants(const Kept<Real> &k, int64_t i, Real *in) const {
    copy(in, atoms_.h + i * F_, F_);
    atom_.invariants(k.mixed + i * 6 * V_, k.turned + i * 5 * Q_, k.length + i * V_,
                     k.size + i * Q_, in + F_);
  }
  void open_gates(const Kept<Real> &k, int64_t i, const Real *gates) {
    copy(k.gates + i * (V_ + Q_), gates, V_ + Q_);
    atom_.open_gates(k.mixed + i * 6 * V_, k.turned + i * 5 * Q_, gates, atoms_.v + i * 3 * V_);
  }

  const Model model_;
  const int F_, V_, Q_, H_, D_, L_; // those of the model
  const double start_, per_step_;
  const AtomUpdate<Real, W> atom_;
  AtomArrays<Real> atoms_;
  Buffer<Real> scratch_;
  Buffer<Pair> pairs_;
  Buffer<int32_t> rows_;
  mlff::Pairs list_ = {};
};

} // namespace
