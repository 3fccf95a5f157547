// The student network and its reverse pass on half pairs. mlff_md/engines/gradient.py has the same
// arithmetic in plain tensors.
//
// The filters depend on a pair's distance alone. They are tabulated once as cubic B-splines, and
// the derivative that is used is that of the spline: forces are the exact gradient of the energy
// that is computed. Nothing is kept of a pair but its geometry.
#pragma once

#include <stddef.h>
#include <stdlib.h>

#include "gemm.h"
#include "layout.h"
#include "pairs.h"

namespace {

using mlff::Block;
using mlff::padded;

template <class T> class Buffer {
public:
  Buffer() = default;
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { free(data_); }

  // Grows without keeping the content; false if there is no memory.
  bool reserve(size_t count) {
    if (count <= size_ && data_)
      return true;
    free(data_);
    size_ = 0;
    const size_t wanted = count + count / 8 + 16;
    void *fresh = nullptr;
    data_ = nullptr;
    if (posix_memalign(&fresh, 64, wanted * sizeof(T)) != 0)
      return false;
    data_ = static_cast<T *>(fresh);
    size_ = wanted;
    return true;
  }
  T *get() const { return data_; }
  size_t bytes() const { return size_ * sizeof(T); }

private:
  T *data_ = nullptr;
  size_t size_ = 0;
};

template <class Real, int W, int kRows, int kVecs>
class StudentNetwork final : public mlff::Network {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  typedef Gemm<Real, W, kRows, kVecs> Product;
  typedef PairGeometry<Real> Pair;

  struct Layer {
    bool first, last;
    int messages, gates; // numbers per atom
    Table<Real> table;
    Product message_in, message_out, mixing, turning, update_in, update_out;
    Product message_in_t, message_out_t, mixing_t, turning_t, update_in_t, update_out_t;
  };

  // What a layer's reverse pass needs of its forward pass, per atom.
  struct Kept {
    Real *sent, *message_slope, *vectors, *quadrupoles; // what came in and was sent
    Real *mixed, *turned, *length, *size, *update_slope, *gates;
  };

  // The order in which features are stored against that of the weights: groups are padded one by
  // one, and groups that are read together alternate chunk by chunk.
  class Order {
  public:
    int total() const { return total_; }
    int unpadded() const { return unpadded_; }
    int operator[](int position) const { return source_[position]; } // -1: padding

    Order &append(int size) { return interleave(size, unpadded_); }
    // One or two groups of `size` features each, that stand at these places among the weights.
    Order &interleave(int size, int first, int second = -1) {
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
    static constexpr int kMost = 5 * (4096 + kPad);
    int total_ = 0, unpadded_ = 0;
    int source_[kMost];
  };

public:
  StudentNetwork(const mlff::Shape &shape, const mlff::Weights &weights)
      : shape_(shape), F_(padded(shape.hidden)), V_(padded(shape.vectors)),
        Q_(padded(shape.quadrupoles)), H_(padded(shape.mlp)), D_(padded(shape.readout)),
        L_(shape.layers), inputs_(F_ + 2 * V_ + 2 * Q_), knots_(weights.knots),
        start_(weights.start), per_step_(1.0 / weights.step) {
    layers_ = new Layer[L_];
    kept_ = new Kept[L_];
    ok_ = load(weights);
  }
  ~StudentNetwork() override {
    delete[] layers_;
    delete[] kept_;
  }

  bool ok() const override { return ok_; }

  int64_t bytes() const override {
    return int64_t(weights_.bytes() + nodes_.bytes() + pairs_.bytes() + rows_.bytes() +
                   scratch_.bytes());
  }

  bool reserve(int64_t atoms, int64_t pairs, int threads) override {
    const size_t n = size_t(atoms);
    const size_t features = F_ + 3 * V_ + 5 * Q_;
    size_t per_atom = 3 * features;
    int most = 0;
    for (int l = 0; l < L_; l++) {
      const int m = layers_[l].messages;
      most = m > most ? m : most;
      per_atom += m + 2 * H_ + 3 * V_ + 5 * Q_ + 6 * V_ + 5 * Q_ + V_ + Q_ + V_ + Q_;
    }
    per_atom += most;
    if (!nodes_.reserve(n * per_atom) || !pairs_.reserve(size_t(pairs)) ||
        !rows_.reserve(size_t(pairs)) || !scratch_.reserve(scratch_size() * size_t(threads)))
      return false;
    Real *next = nodes_.get();
    const auto take = [&](int count) {
      Real *here = next;
      next += count * n;
      return here;
    };
    for (int l = 0; l < L_; l++)
      kept_[l] = {take(layers_[l].messages),
                  take(H_),
                  take(3 * V_),
                  take(5 * Q_),
                  take(6 * V_),
                  take(5 * Q_),
                  take(V_),
                  take(Q_),
                  take(H_),
                  take(V_ + Q_)};
    sent_bar_ = take(most);
    h_ = take(F_);
    v_ = take(3 * V_);
    t_ = take(5 * Q_);
    for (int k = 0; k < 2; k++) {
      gh_[k] = take(F_);
      gv_[k] = take(3 * V_);
      gt_[k] = take(5 * Q_);
    }
    return true;
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
      copy(h_ + i * F_, embedding_ + size_t(b.species[i]) * F_, F_);
  }

  void send(const Block &b, int l) override {
    const Layer &y = layers_[l];
    const Kept &k = kept_[l];
    const int M = y.messages;
    const int64_t n = b.last - b.first;
    if (y.first) { // depends on the species alone
      for (int64_t i = b.first; i < b.last; i++)
        copy(k.sent + i * M, first_sent_ + size_t(b.species[i]) * M, M);
      clear(v_ + b.first * 3 * V_, n * 3 * V_);
      clear(t_ + b.first * 5 * Q_, n * 5 * Q_);
      return;
    }
    copy(k.vectors + b.first * 3 * V_, v_ + b.first * 3 * V_, n * 3 * V_);
    copy(k.quadrupoles + b.first * 5 * Q_, t_ + b.first * 5 * Q_, n * 5 * Q_);
    Real *hidden = scratch(b);
    in_chunks(b, [&](int64_t i, int m) {
      Real *slope = k.message_slope + i * H_;
      y.message_in.run(h_ + i * F_, F_, m, slope, H_, Start::kBias);
      silu(slope, hidden, m * H_);
      y.message_out.run(hidden, H_, m, k.sent + i * M, M, Start::kBias);
    });
  }

  void receive(const Block &b, int l) override {
    with_sizes([&](auto sizes) {
      layers_[l].first ? receive_layer<decltype(sizes), true>(b, l)
                       : receive_layer<decltype(sizes), false>(b, l);
    });
  }

  void update(const Block &b, int l) override {
    const Layer &y = layers_[l];
    const Kept &k = kept_[l];
    Real *input = scratch(b), *hidden = input + kChunk * inputs_, *out = hidden + kChunk * H_;
    in_chunks(b, [&](int64_t i, int m) {
      y.mixing.template run<3>(v_ + i * 3 * V_, 3 * V_, m, k.mixed + i * 6 * V_, 6 * V_,
                               Start::kZero);
      if (Q_)
        y.turning.template run<5>(t_ + i * 5 * Q_, 5 * Q_, m, k.turned + i * 5 * Q_, 5 * Q_,
                                  Start::kZero);
      for (int a = 0; a < m; a++)
        invariants(k, i + a, input + a * inputs_);
      Real *slope = k.update_slope + i * H_;
      y.update_in.run(input, inputs_, m, slope, H_, Start::kBias);
      silu(slope, hidden, m * H_);
      y.update_out.run(hidden, H_, m, out, y.gates, Start::kBias);
      for (int a = 0; a < m; a++) {
        add(h_ + (i + a) * F_, out + a * y.gates, F_);
        if (!y.last)
          open_gates(k, i + a, out + a * y.gates + F_);
      }
    });
  }

  // Atomic energies and the adjoints of the last features.
  void read_out(const Block &b, double *energies) override {
    Real *hidden = scratch(b);
    Real *gh = gh_[(L_ - 1) % 2];
    in_chunks(b, [&](int64_t i, int m) {
      readout_.run(h_ + i * F_, F_, m, hidden, D_, Start::kBias);
      for (int a = 0; a < m; a++) {
        Real *o = hidden + a * D_;
        const bool counts = !b.local || b.local[i + a];
        double sum = 0.0;
        for (int c = 0; c < D_; c += W) {
          const Vec x = S::load(o + c), s = S::sigmoid(x), w = S::load(readout_out_ + c);
          Real term[W];
          S::store(term, x * s * w);
          for (int e = 0; e < W; e++)
            sum += double(term[e]);
          S::store(o + c, counts ? w * (s * (Real(1) + x * (Real(1) - s))) : Vec{});
        }
        energies[i + a] = counts ? sum + readout_bias_ : 0.0;
      }
      readout_t_.run(hidden, D_, m, gh + i * F_, F_, Start::kZero);
    });
  }

  // From the adjoints after the update of layer l to those before it, in place.
  void update_reverse(const Block &b, int l) override {
    const Layer &y = layers_[l];
    const Kept &k = kept_[l];
    Real *gh = gh_[l % 2], *gv = gv_[l % 2], *gt = gt_[l % 2];
    Real *out = scratch(b), *hidden = out + kChunk * (F_ + V_ + Q_), *input = hidden + kChunk * H_;
    Real *mixed = input + kChunk * inputs_, *turned = mixed + kChunk * 6 * V_;
    in_chunks(b, [&](int64_t i, int m) {
      for (int a = 0; a < m; a++) {
        copy(out + a * y.gates, gh + (i + a) * F_, F_);
        if (!y.last)
          gates_reverse(k, i + a, gv + (i + a) * 3 * V_, out + a * y.gates + F_);
      }
      y.update_out_t.run(out, y.gates, m, hidden, H_, Start::kZero);
      multiply(hidden, k.update_slope + i * H_, m * H_);
      y.update_in_t.run(hidden, H_, m, input, inputs_, Start::kZero);
      for (int a = 0; a < m; a++) {
        add(gh + (i + a) * F_, input + a * inputs_, F_);
        invariants_reverse(k, i + a, y.last ? nullptr : gv + (i + a) * 3 * V_,
                           input + a * inputs_ + F_, mixed + a * 6 * V_, turned + a * 5 * Q_);
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
      layers_[l].first ? reverse_layer<decltype(sizes), true>(b, l)
                       : reverse_layer<decltype(sizes), false>(b, l);
    });
  }

  // From the adjoints of what atoms sent in layer l to those of the features before it.
  void send_reverse(const Block &b, int l) override {
    const Layer &y = layers_[l];
    if (y.first)
      return;
    const int M = y.messages, now = l % 2;
    Real *hidden = scratch(b);
    in_chunks(b, [&](int64_t i, int m) {
      y.message_out_t.run(sent_bar_ + i * M, M, m, hidden, H_, Start::kZero);
      multiply(hidden, kept_[l].message_slope + i * H_, m * H_);
      Real *next = gh_[1 - now] + i * F_;
      copy(next, gh_[now] + i * F_, m * F_);
      y.message_in_t.run(hidden, H_, m, next, F_, Start::kAdd);
    });
  }

  int exchanged_bytes(int l, bool reverse) const override {
    const bool carried = reverse || !layers_[l].first;
    const int own = reverse ? F_ : layers_[l].messages;
    return int(sizeof(Real)) * (own + (carried ? 3 * V_ + 5 * Q_ : 0));
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
    place = place < knots_ - 1 ? place : knots_ - 1; // from the cutoff on all is zero
    int k = int(place);
    k = k < 0 ? 0 : k > knots_ - 2 ? knots_ - 2 : k;
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
  static void clear(Real *to, int64_t count) { memset(to, 0, size_t(count) * sizeof(Real)); }
  static void add(Real *to, const Real *what, int count) {
    for (int c = 0; c < count; c += W)
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

  template <class Work> static void in_chunks(const Block &b, Work work) {
    for (int64_t i = b.first; i < b.last; i += kChunk)
      work(i, int(b.last - i < kChunk ? b.last - i : kChunk));
  }
  size_t scratch_size() const {
    return size_t(kChunk) * (F_ + V_ + Q_ + H_ + inputs_ + 6 * V_ + 5 * Q_ + D_) + 64;
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
    const Kept &k = kept_[l];
    const int M = layers_[l].messages;
    if (reverse) {
      visit(gh_[l % 2] + i * F_, F_);
      visit(gv_[l % 2] + i * 3 * V_, 3 * V_);
      visit(gt_[l % 2] + i * 5 * Q_, 5 * Q_);
    } else {
      visit(k.sent + i * M, M);
      if (!layers_[l].first) {
        visit(k.vectors + i * 3 * V_, 3 * V_);
        visit(k.quadrupoles + i * 5 * Q_, 5 * Q_);
      }
    }
  }

  template <class Sizes, bool kFirst> void receive_layer(const Block &b, int l) {
    const Kept &k = kept_[l];
    const MessageArrays<Real> m = {F_,
                                   V_,
                                   Q_,
                                   layers_[l].messages,
                                   layers_[l].table,
                                   pairs_.get(),
                                   rows_.get(),
                                   list_.center,
                                   list_.neighbor,
                                   k.sent,
                                   k.vectors,
                                   k.quadrupoles,
                                   h_,
                                   v_,
                                   t_};
    const mlff::PairRange &range = list_.range[b.thread];
    receive_pairs<Real, W, Sizes, kFirst, true>(m, range.first, range.one_sided);
    receive_pairs<Real, W, Sizes, kFirst, false>(m, range.one_sided, range.last);
  }

  template <class Sizes, bool kFirst> void reverse_layer(const Block &b, int l) {
    const Kept &k = kept_[l];
    const int now = l % 2, M = layers_[l].messages;
    const int64_t n = b.last - b.first;
    if (!kFirst) {
      clear(sent_bar_ + b.first * M, n * M);
      copy(gv_[1 - now] + b.first * 3 * V_, gv_[now] + b.first * 3 * V_, n * 3 * V_);
      copy(gt_[1 - now] + b.first * 5 * Q_, gt_[now] + b.first * 5 * Q_, n * 5 * Q_);
    }
    const ReverseArrays<Real> m = {F_,
                                   V_,
                                   Q_,
                                   layers_[l].messages,
                                   layers_[l].table,
                                   pairs_.get(),
                                   rows_.get(),
                                   list_.center,
                                   list_.neighbor,
                                   k.sent,
                                   k.vectors,
                                   k.quadrupoles,
                                   gh_[now],
                                   gv_[now],
                                   gt_[now],
                                   sent_bar_,
                                   gv_[1 - now],
                                   gt_[1 - now]};
    const mlff::PairRange &range = list_.range[b.thread];
    reverse_pairs<Real, W, Sizes, kFirst, true>(m, range.first, range.one_sided);
    reverse_pairs<Real, W, Sizes, kFirst, false>(m, range.one_sided, range.last);
  }

  // Features of an atom that do not turn with it: the inputs of the update.
  void invariants(const Kept &k, int64_t i, Real *in) const {
    const Real *left = k.mixed + i * 6 * V_, *right = left + 3 * W, *turned = k.turned + i * 5 * Q_;
    const Vec epsilon = S::all(Real(shape_.norm_epsilon));
    copy(in, h_ + i * F_, F_);
    in += F_;
    for (int c = 0; c < V_; c += W) {
      Vec square = epsilon, inner = {};
      for (int x = 0; x < 3; x++) {
        const Vec r = S::load(right + 6 * c + x * W);
        square += r * r;
        inner += r * S::load(left + 6 * c + x * W);
      }
      const Vec length = S::sqrt(square);
      S::store(k.length + i * V_ + c, length);
      S::store(in + c, length);
      S::store(in + V_ + c, inner);
    }
    in += 2 * V_;
    for (int c = 0; c < Q_; c += W) {
      Vec t[5], p[3], q[3], square = epsilon, bent = {};
      load_turn(turned + 5 * c, left + 6 * c, t, p, q);
      for (int x = 0; x < 5; x++)
        square += t[x] * t[x];
      for (int x = 0; x < 3; x++)
        bent += q[x] * S::load(right + 6 * c + x * W);
      const Vec size = S::sqrt(square);
      S::store(k.size + i * Q_ + c, size);
      S::store(in + c, size);
      S::store(in + Q_ + c, bent);
    }
  }

  void load_turn(const Real *turned, const Real *left, Vec t[5], Vec p[3], Vec q[3]) const {
    for (int x = 0; x < 5; x++)
      t[x] = S::load(turned + x * W);
    for (int x = 0; x < 3; x++)
      p[x] = S::load(left + x * W);
    S::turn(t, p, q);
  }

  void open_gates(const Kept &k, int64_t i, const Real *gates) {
    Real *v = v_ + i * 3 * V_;
    const Real *left = k.mixed + i * 6 * V_, *turned = k.turned + i * 5 * Q_;
    copy(k.gates + i * (V_ + Q_), gates, V_ + Q_);
    for (int c = 0; c < V_; c += W)
      for (int x = 0; x < 3; x++)
        S::store(v + 3 * c + x * W,
                 S::load(v + 3 * c + x * W) + S::load(gates + c) * S::load(left + 6 * c + x * W));
    for (int c = 0; c < Q_; c += W) {
      Vec t[5], p[3], q[3];
      load_turn(turned + 5 * c, left + 6 * c, t, p, q);
      for (int x = 0; x < 3; x++)
        S::store(v + 3 * c + x * W, S::load(v + 3 * c + x * W) + S::load(gates + V_ + c) * q[x]);
    }
  }

  void gates_reverse(const Kept &k, int64_t i, const Real *gv, Real *bar) const {
    const Real *left = k.mixed + i * 6 * V_, *turned = k.turned + i * 5 * Q_;
    for (int c = 0; c < V_; c += W) {
      Vec sum = {};
      for (int x = 0; x < 3; x++)
        sum += S::load(gv + 3 * c + x * W) * S::load(left + 6 * c + x * W);
      S::store(bar + c, sum);
    }
    for (int c = 0; c < Q_; c += W) {
      Vec t[5], p[3], q[3], sum = {};
      load_turn(turned + 5 * c, left + 6 * c, t, p, q);
      for (int x = 0; x < 3; x++)
        sum += S::load(gv + 3 * c + x * W) * q[x];
      S::store(bar + V_ + c, sum);
    }
  }

  // Adjoints of the mixed vectors and turned quadrupoles; gv is null in the last layer.
  void invariants_reverse(const Kept &k, int64_t i, const Real *gv, const Real *bar, Real *mixed,
                          Real *turned_bar) const {
    const Real *left = k.mixed + i * 6 * V_, *right = left + 3 * W;
    const Real *gates = k.gates + i * (V_ + Q_);
    for (int c = 0; c < V_; c += W) {
      const Vec stretch = S::load(bar + c) / S::load(k.length + i * V_ + c);
      const Vec inner = S::load(bar + V_ + c);
      for (int x = 0; x < 3; x++) {
        const Vec l = S::load(left + 6 * c + x * W), r = S::load(right + 6 * c + x * W);
        Vec left_bar = inner * r;
        if (gv)
          left_bar += S::load(gv + 3 * c + x * W) * S::load(gates + c);
        S::store(mixed + 6 * c + x * W, left_bar);
        S::store(mixed + 6 * c + (3 + x) * W, inner * l + stretch * r);
      }
    }
    bar += 2 * V_;
    const Real *turned = k.turned + i * 5 * Q_;
    for (int c = 0; c < Q_; c += W) {
      Vec t[5], p[3], q[3], q_bar[3], back[3], t_bar[5];
      load_turn(turned + 5 * c, left + 6 * c, t, p, q);
      const Vec stretch = S::load(bar + c) / S::load(k.size + i * Q_ + c);
      const Vec bent = S::load(bar + Q_ + c);
      for (int x = 0; x < 3; x++) {
        const Vec r = S::load(right + 6 * c + x * W);
        q_bar[x] = bent * r;
        if (gv)
          q_bar[x] += S::load(gv + 3 * c + x * W) * S::load(gates + V_ + c);
        Real *right_bar = mixed + 6 * c + (3 + x) * W;
        S::store(right_bar, S::load(right_bar) + bent * q[x]);
      }
      S::turn(t, q_bar, back); // the matrix is symmetric
      S::turn_reverse(q_bar, p, t_bar);
      for (int x = 0; x < 3; x++) {
        Real *left_bar = mixed + 6 * c + x * W;
        S::store(left_bar, S::load(left_bar) + back[x]);
      }
      for (int x = 0; x < 5; x++)
        S::store(turned_bar + 5 * c + x * W, t_bar[x] + stretch * t[x]);
    }
  }

  // ---- weights --------------------------------------------------------------------------------

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

  bool load(const mlff::Weights &w) {
    Taker count = {nullptr, 0};
    place(w, count);
    if (!weights_.reserve(count.taken))
      return false;
    Taker take = {weights_.get(), 0};
    place(w, take);
    return true;
  }

  void place(const mlff::Weights &w, Taker &take) {
    const int F = shape_.hidden, V = shape_.vectors, Q = shape_.quadrupoles;
    const Order hidden = Order().append(F), mlp = Order().append(shape_.mlp);
    const Order vectors = Order().append(V), turned = Order().append(Q);
    const Order mixed = Order().interleave(V, 0, V);
    const Order inputs = Order().append(F).append(V).append(V).append(Q).append(Q);
    const Order readout = Order().append(shape_.readout);
    Real *embedding = take(size_t(shape_.species) * F_);
    embedding_ = embedding;
    for (int z = 0; embedding && z < shape_.species; z++)
      for (int c = 0; c < F_; c++)
        embedding[z * F_ + c] = c < F ? Real(w.embedding[z * F + c]) : 0;
    for (int l = 0; l < L_; l++) {
      Layer &y = layers_[l];
      const mlff::LayerWeights &from = w.layers[l];
      y.first = l == 0;
      y.last = l == L_ - 1;
      const int carried = F + V + Q; // where the carried vectors stand among the weights
      const Order sent =
          y.first ? Order().append(F).append(V).append(Q)
                  : Order().append(F).interleave(V, F, carried).interleave(Q, F + V, carried + V);
      const Order gates = y.last ? hidden : Order().append(F).append(V).append(Q);
      y.messages = sent.total();
      y.gates = gates.total();
      const int M = y.messages;
      Real *values = take(size_t(knots_ + 2) * M), *rises = take(size_t(knots_ + 1) * M);
      y.table = {values, rises};
      for (int row = 0; values && row < knots_ + 2; row++)
        for (int c = 0; c < M; c++) {
          const double *from_row = w.filters[l] + size_t(row) * sent.unpadded();
          const double here = sent[c] < 0 ? 0 : from_row[sent[c]];
          const double next = sent[c] < 0 || row > knots_ ? 0 : from_row[sent.unpadded() + sent[c]];
          values[size_t(row) * M + c] = Real(here);
          if (row <= knots_)
            rises[size_t(row) * M + c] = Real(next - here);
        }
      dense(take, y.message_in, y.message_in_t, from.message_in, from.message_in_bias, hidden, mlp);
      dense(take, y.message_out, y.message_out_t, from.message_out, from.message_out_bias, mlp,
            sent);
      dense(take, y.mixing, y.mixing_t, from.mixing, nullptr, vectors, mixed);
      dense(take, y.turning, y.turning_t, from.quadrupole_mixing, nullptr, turned, turned);
      dense(take, y.update_in, y.update_in_t, from.update_in, from.update_in_bias, inputs, mlp);
      dense(take, y.update_out, y.update_out_t, from.update_out, from.update_out_bias, mlp, gates);
    }
    dense(take, readout_, readout_t_, w.readout_in, w.readout_in_bias, hidden, readout);
    Real *out = take(D_);
    readout_out_ = out;
    for (int c = 0; out && c < D_; c++)
      out[c] = c < shape_.readout ? Real(w.readout_out[c]) : 0;
    readout_bias_ = w.readout_out_bias;

    const int M = layers_[0].messages;
    Real *first = take(size_t(shape_.species) * M), *scratch = take(H_);
    first_sent_ = first;
    for (int z = 0; first && z < shape_.species; z++) {
      layers_[0].message_in.run(embedding_ + z * F_, F_, 1, scratch, H_, Start::kBias);
      for (int c = 0; c < H_; c += W)
        S::store(scratch + c, S::load(scratch + c) * S::sigmoid(S::load(scratch + c)));
      layers_[0].message_out.run(scratch, H_, 1, first + size_t(z) * M, M, Start::kBias);
    }
  }

  void dense(Taker &take, Product &forward, Product &reverse, const double *w, const double *bias,
             const Order &in, const Order &out) {
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
  const int F_, V_, Q_, H_, D_, L_; // padded sizes, number of layers
  const int inputs_, knots_;
  const double start_, per_step_;
  bool ok_ = false;
  Layer *layers_;
  Kept *kept_;
  const Real *embedding_ = nullptr, *first_sent_ = nullptr, *readout_out_ = nullptr;
  double readout_bias_ = 0.0;
  Product readout_, readout_t_;
  Buffer<Real> weights_, nodes_, scratch_;
  Buffer<Pair> pairs_;
  Buffer<int32_t> rows_;
  mlff::Pairs list_ = {};
  Real *sent_bar_ = nullptr, *h_ = nullptr, *v_ = nullptr, *t_ = nullptr;
  Real *gh_[2] = {}, *gv_[2] = {}, *gt_[2] = {}; // adjoints; the two sets serve layers in turn
};

} // namespace
