// The loops over pairs: messages between atoms, and their reverse.
#pragma once

#include "layout.h"
#include "mlff_native.h"
#include "simd.h"

namespace {

// What is kept of a pair: one cache line in single precision.
template <class Real> struct PairGeometry {
  Real u[3], inverse; // unit vector from center to neighbor, 1 / distance
  Real b[3], d[3];    // weights of three rises of the table; those of the derivative, 1 / Å
  Real g[4];          // energy derivative by u (3) and by the distance
};

// Padded numbers of features that are known to the compiler; all 0: any, known at run time.
template <int F, int V, int Q> struct Known {
  static constexpr int kF = F, kV = V, kQ = Q;
};

// Filters as cubic splines. `value`: B-spline coefficients [knots + 2][M], `rise`: from each row to
// the next. Of a pair in interval k, row k + 1 of the former and rows k to k + 2 of the latter.
template <class Real> struct Table {
  const Real *value, *rise;
  Table at(int columns) const { return {value + columns, rise + columns}; }
  Table interval(int k, int stride) const {
    return {value + (size_t(k) + 1) * stride, rise + size_t(k) * stride};
  }
};

// Feature arrays of one layer, in chunks of W: scalars [W], vectors [3][W], quadrupoles [5][W].
// `sent` has M numbers for each atom, in the first layer for each species: scalars,
// then the factors of vectors along the pair, then those of its quadrupole. What an atom carries
// itself it offers multiplied by its own factors already. The table has M columns: scalars; chunk
// by chunk the filters of vectors along the pair and, unless it is the first layer, of carried
// vectors; the same for quadrupoles. All offsets within a chunk are constants: the loops run out of
// address registers otherwise.
template <class Real> struct MessageArrays {
  int F, V, Q;
  Table<Real> table;
  const PairGeometry<Real> *geometry;
  const int32_t *row, *center, *neighbor, *species;
  const Real *sent, *vectors, *quadrupoles; // what the neighbors offer
  Real *h, *v, *t;                          // what the atoms receive
  Real *scratch;                            // of the thread
};

// The same for the reverse pass: adjoints of what was received, read from all atoms; adjoints of
// what was offered, written.
template <class Real> struct ReverseArrays {
  int F, V, Q;
  Table<Real> table;
  PairGeometry<Real> *geometry;
  const int32_t *row, *center, *neighbor, *species;
  const Real *sent, *vectors, *quadrupoles;
  const Real *gh, *gv, *gt;
  Real *sent_bar, *v_bar, *t_bar;
};

// Real spherical harmonics of degree 2 of a unit vector: xy, yz, z2, xz, x2-y2. Number: a vector of
// the same number in all lanes; taking them from scalars would cost more.
template <class Real, class Number> MLFF_INLINE void harmonics(const Number *u, Number *y) {
  const Real c = Real(1.7320508075688772935);
  y[0] = c * u[0] * u[1];
  y[1] = c * u[1] * u[2];
  y[2] = Real(0.5) * (Real(3) * u[2] * u[2] - Real(1));
  y[3] = c * u[0] * u[2];
  y[4] = Real(0.5) * c * (u[0] * u[0] - u[1] * u[1]);
}

// Value of the table at a pair's distance, W columns.
template <class Real, int W>
MLFF_INLINE typename Simd<Real, W>::Vec filter(Table<Real> p, int stride,
                                               const typename Simd<Real, W>::Vec *b) {
  typedef Simd<Real, W> S;
  return S::load(p.value) + b[0] * S::load(p.rise) + b[1] * S::load(p.rise + stride) +
         b[2] * S::load(p.rise + 2 * stride);
}

// What the centers at work receive as centers, summed from zero and added to the rest when the next
// ones come. Of fifty messages in one row more is rounded off: with one row, float32 forces of the
// same positions in another order of the atoms were up to 2.7e-6 eV/Å apart, with two 1.9e-6.
template <class Real, int W> class CenterSums {
  typedef Simd<Real, W> S;

public:
  CenterSums(int F, int V, int Q, Real *memory, Real *h, Real *v, Real *t)
      : size_{F, 3 * V, 5 * Q}, to_{h, v, t}, memory_(memory) {
    for (int64_t &center : center_)
      center = -1;
  }
  ~CenterSums() {
    for (int slot = 0; slot < kSlots; slot++)
      flush(slot);
  }
  CenterSums(const CenterSums &) = delete;
  CenterSums &operator=(const CenterSums &) = delete;

  // Scalars, vectors, quadrupoles of a center.
  Real *of(int64_t center) {
    const int slot = int(center % kSlots);
    Real *sums = memory_ + slot * (size_[0] + size_[1] + size_[2]);
    if (center_[slot] != center) {
      flush(slot);
      center_[slot] = center;
      memset(sums, 0, sizeof(Real) * size_t(size_[0] + size_[1] + size_[2]));
    }
    return sums;
  }

private:
  __attribute__((noinline)) void flush(int slot) {
    if (center_[slot] < 0)
      return;
    const Real *sums = memory_ + slot * (size_[0] + size_[1] + size_[2]);
    for (int part = 0; part < 3; part++) {
      Real *to = to_[part] + center_[slot] * size_[part];
      for (int c = 0; c < size_[part]; c += W)
        S::store(to + c, S::load(to + c) + S::load(sums + c));
      sums += size_[part];
    }
  }

  static constexpr int kSlots = MLFF_NATIVE_TILE;
  const int size_[3];
  Real *const to_[3], *const memory_;
  int64_t center_[kSlots];
};

// kPlanes of what is received: the neighbor's message along y, and what it carries itself.
template <class Real, int W, int kPlanes, bool kFirst, bool kBoth, bool kOdd>
MLFF_INLINE void receive_chunks(int features, int stride, const typename Simd<Real, W>::Vec *b,
                                const typename Simd<Real, W>::Vec *y, Table<Real> table,
                                const Real *sj, const Real *si, const Real *vj, const Real *vi,
                                Real *oj, Real *oi) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  for (int c = 0; c < features; c += W) {
    const Vec w = filter<Real, W>(table, stride, b);
    const Vec xj = w * S::load(sj), xi = kOdd ? -(w * S::load(si)) : w * S::load(si);
    Vec carried = {};
    if (!kFirst)
      carried = filter<Real, W>(table.at(W), stride, b);
#pragma GCC unroll 5
    for (int x = 0; x < kPlanes; x++) {
      Vec to_i = S::load(oi + x * W) + xj * y[x];
      if (!kFirst)
        to_i += carried * S::load(vj + x * W);
      S::store(oi + x * W, to_i);
      if (kBoth) {
        Vec to_j = S::load(oj + x * W) + xi * y[x];
        if (!kFirst)
          to_j += carried * S::load(vi + x * W);
        S::store(oj + x * W, to_j);
      }
    }
    table = table.at((kFirst ? 1 : 2) * W), sj += W, si += W;
    vj += kPlanes * W, vi += kPlanes * W, oj += kPlanes * W, oi += kPlanes * W;
  }
}

// Messages of the pairs [from, to); kBoth: to both atoms.
template <class Real, int W, class Sizes, bool kFirst, bool kBoth>
MLFF_INLINE void receive_pairs(const MessageArrays<Real> &m, int64_t from, int64_t to) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  const int F = Sizes::kF ? Sizes::kF : m.F, V = Sizes::kF ? Sizes::kV : m.V;
  const int Q = Sizes::kF ? Sizes::kQ : m.Q, M = F + (kFirst ? 1 : 2) * (V + Q);
  const int at_quadrupoles = F + (kFirst ? 1 : 2) * V;
  CenterSums<Real, W> sums(F, V, Q, m.scratch, m.h, m.v, m.t);
  for (int64_t p = from; p < to; p++) {
    // Copies: stores to features must not make the compiler read them again.
    const PairGeometry<Real> o = m.geometry[p];
    const Vec b[3] = {S::all(o.b[0]), S::all(o.b[1]), S::all(o.b[2])};
    const int64_t i = m.center[p], j = m.neighbor[p];
    const Table<Real> table = m.table.interval(m.row[p], M);
    const Real *si = m.sent + (kFirst ? m.species[i] : i) * M;
    const Real *sj = m.sent + (kFirst ? m.species[j] : j) * M;
    Real *hi = sums.of(i), *hj = m.h + j * F;
    for (int c = 0; c < F; c += W) {
      const Vec w = filter<Real, W>(table.at(c), M, b);
      S::store(hi + c, S::load(hi + c) + w * S::load(sj + c));
      if (kBoth)
        S::store(hj + c, S::load(hj + c) + w * S::load(si + c));
    }
    const Vec u[3] = {S::all(o.u[0]), S::all(o.u[1]), S::all(o.u[2])};
    receive_chunks<Real, W, 3, kFirst, kBoth, true>(V, M, b, u, table.at(F), sj + F, si + F,
                                                    m.vectors + j * 3 * V, m.vectors + i * 3 * V,
                                                    m.v + j * 3 * V, hi + F);
    Vec y[5];
    harmonics<Real>(u, y);
    receive_chunks<Real, W, 5, kFirst, kBoth, false>(
        Q, M, b, y, table.at(at_quadrupoles), sj + F + V, si + F + V, m.quadrupoles + j * 5 * Q,
        m.quadrupoles + i * 5 * Q, m.t + j * 5 * Q, hi + F + 3 * V);
  }
}

// Value and derivative of the table at a pair's distance, W columns. In parts of `d` the derivative
// has the weights of the rises alone.
template <class Real, int W>
MLFF_INLINE void filter_and_slope(Table<Real> p, int stride, const typename Simd<Real, W>::Vec *b,
                                  const typename Simd<Real, W>::Vec *d,
                                  typename Simd<Real, W>::Vec &value,
                                  typename Simd<Real, W>::Vec &slope) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  const Vec low = S::load(p.rise), middle = S::load(p.rise + stride);
  const Vec high = S::load(p.rise + 2 * stride);
  value = S::load(p.value) + b[0] * low + b[1] * middle + b[2] * high;
  slope = d[0] * low + d[1] * middle + d[2] * high;
}

// Reverse of receive_chunks in the first layer, where nothing is carried and what was sent depends
// on the species alone. gi, gj: adjoints of what both atoms received. Written: gy, adjoints of y;
// gr, of the distance.
template <class Real, int W, int kPlanes, bool kOdd>
MLFF_INLINE void reverse_first(int features, int stride, const typename Simd<Real, W>::Vec *b,
                               const typename Simd<Real, W>::Vec *d,
                               const typename Simd<Real, W>::Vec *y, Table<Real> table,
                               const Real *sj, const Real *si, const Real *gj, const Real *gi,
                               typename Simd<Real, W>::Vec &gr, typename Simd<Real, W>::Vec *gy) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  for (int c = 0; c < features; c += W) {
    Vec w, slope, along = {};
    filter_and_slope<Real, W>(table, stride, b, d, w, slope);
    const Vec from_j = S::load(sj), from_i = kOdd ? -S::load(si) : S::load(si);
#pragma GCC unroll 5
    for (int x = 0; x < kPlanes; x++) {
      Vec both = S::load(gi + x * W) * from_j;
      both += S::load(gj + x * W) * from_i;
      along += both * y[x];
      gy[x] += both * w;
    }
    gr += along * slope;
    table = table.at(W), sj += W, si += W, gj += kPlanes * W, gi += kPlanes * W;
  }
}

// The same in later layers. Also written: sbi, sbj, adjoints of what they sent; vbi, vbj, of what
// they offered. The order of the statements keeps what is alive within sixteen registers.
template <class Real, int W, int kPlanes, bool kBoth, bool kOdd>
MLFF_INLINE void
reverse_chunks(int features, int stride, const typename Simd<Real, W>::Vec *b,
               const typename Simd<Real, W>::Vec *d, const typename Simd<Real, W>::Vec *y,
               Table<Real> table, const Real *sj, const Real *si, const Real *vj, const Real *vi,
               const Real *gj, const Real *gi, Real *sbj, Real *sbi, Real *vbj, Real *vbi,
               typename Simd<Real, W>::Vec &gr, typename Simd<Real, W>::Vec *gy) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  for (int c = 0; c < features; c += W) {
    Vec w, w_slope, carried, carried_slope;
    filter_and_slope<Real, W>(table, stride, b, d, w, w_slope);
    filter_and_slope<Real, W>(table.at(W), stride, b, d, carried, carried_slope);
    const Vec wj = w * S::load(sj), wi = kOdd ? -(w * S::load(si)) : w * S::load(si);
    Vec along_i = {}, along_j = {}, on = {};
#pragma GCC unroll 5
    for (int x = 0; x < kPlanes; x++) {
      const Vec at_i = S::load(gi + x * W), at_j = S::load(gj + x * W);
      along_i += at_i * y[x];
      along_j += at_j * y[x];
      Vec turning = at_i * wj;
      turning += at_j * wi;
      gy[x] += turning;
      on += at_i * S::load(vj + x * W);
      on += at_j * S::load(vi + x * W);
      S::store(vbi + x * W, S::load(vbi + x * W) + at_j * carried);
      if (kBoth)
        S::store(vbj + x * W, S::load(vbj + x * W) + at_i * carried);
    }
    if (kOdd)
      along_j = -along_j;
    gr += on * carried_slope;
    Vec adjoint = along_i * S::load(sj);
    adjoint += along_j * S::load(si);
    gr += adjoint * w_slope;
    S::store(sbi, S::load(sbi) + along_j * w);
    if (kBoth)
      S::store(sbj, S::load(sbj) + along_i * w);
    table = table.at(2 * W), sj += W, si += W, sbj += W, sbi += W;
    vj += kPlanes * W, vi += kPlanes * W, gj += kPlanes * W, gi += kPlanes * W;
    vbj += kPlanes * W, vbi += kPlanes * W;
  }
}

// Reverse of the messages of the pairs [from, to). A pair's gradient is that of both
// of its messages; kBoth: adjoints are written for both atoms, otherwise for the center alone.
template <class Real, int W, class Sizes, bool kFirst, bool kBoth>
MLFF_INLINE void reverse_pairs(const ReverseArrays<Real> &m, int64_t from, int64_t to) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  const int F = Sizes::kF ? Sizes::kF : m.F, V = Sizes::kF ? Sizes::kV : m.V;
  const int Q = Sizes::kF ? Sizes::kQ : m.Q, M = F + (kFirst ? 1 : 2) * (V + Q);
  const int at_quadrupoles = F + (kFirst ? 1 : 2) * V;
  for (int64_t p = from; p < to; p++) {
    const PairGeometry<Real> o = m.geometry[p];
    const Vec b[3] = {S::all(o.b[0]), S::all(o.b[1]), S::all(o.b[2])};
    const Vec d[3] = {S::all(o.d[0]), S::all(o.d[1]), S::all(o.d[2])};
    const int64_t i = m.center[p], j = m.neighbor[p];
    const Table<Real> table = m.table.interval(m.row[p], M);
    const Real *si = m.sent + (kFirst ? m.species[i] : i) * M;
    const Real *sj = m.sent + (kFirst ? m.species[j] : j) * M;
    const Real *ghi = m.gh + i * F, *ghj = m.gh + j * F;
    const Real *gvi = m.gv + i * 3 * V, *gvj = m.gv + j * 3 * V;
    const Real *gti = m.gt + i * 5 * Q, *gtj = m.gt + j * 5 * Q;
    Real *sbi = m.sent_bar + i * M, *sbj = m.sent_bar + j * M;
    Vec gr = {}, gu[3] = {}, gy[5] = {};
    for (int c = 0; c < F; c += W) {
      const Vec at_i = S::load(ghi + c), at_j = S::load(ghj + c);
      Vec w, slope;
      filter_and_slope<Real, W>(table.at(c), M, b, d, w, slope);
      Vec adjoint = at_i * S::load(sj + c);
      adjoint += at_j * S::load(si + c);
      gr += adjoint * slope;
      if (kFirst)
        continue;
      S::store(sbi + c, S::load(sbi + c) + at_j * w);
      if (kBoth)
        S::store(sbj + c, S::load(sbj + c) + at_i * w);
    }
    const Vec u[3] = {S::all(o.u[0]), S::all(o.u[1]), S::all(o.u[2])};
    const Table<Real> along = table.at(F), turned = table.at(at_quadrupoles);
    if (kFirst)
      reverse_first<Real, W, 3, true>(V, M, b, d, u, along, sj + F, si + F, gvj, gvi, gr, gu);
    else
      reverse_chunks<Real, W, 3, kBoth, true>(
          V, M, b, d, u, along, sj + F, si + F, m.vectors + j * 3 * V, m.vectors + i * 3 * V, gvj,
          gvi, sbj + F, sbi + F, m.v_bar + j * 3 * V, m.v_bar + i * 3 * V, gr, gu);
    Vec y[5];
    harmonics<Real>(u, y);
    const int at = F + V;
    if (kFirst)
      reverse_first<Real, W, 5, false>(Q, M, b, d, y, turned, sj + at, si + at, gtj, gti, gr, gy);
    else
      reverse_chunks<Real, W, 5, kBoth, false>(Q, M, b, d, y, turned, sj + at, si + at,
                                               m.quadrupoles + j * 5 * Q, m.quadrupoles + i * 5 * Q,
                                               gtj, gti, sbj + at, sbi + at, m.t_bar + j * 5 * Q,
                                               m.t_bar + i * 5 * Q, gr, gy);
    const Real c = Real(1.7320508075688772935);
    gu[0] += c * (u[1] * gy[0] + u[2] * gy[3] + u[0] * gy[4]);
    gu[1] += c * (u[0] * gy[0] + u[2] * gy[1] - u[1] * gy[4]);
    gu[2] += c * (u[1] * gy[1] + u[0] * gy[3]) + Real(3) * u[2] * gy[2];
    S::add_sums(m.geometry[p].g, gu[0], gu[1], gu[2], gr);
  }
}

} // namespace
