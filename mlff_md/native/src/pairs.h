// The loops over pairs: messages between atoms, and their reverse.
#pragma once

#include "layout.h"
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
// What an atom sends has `M` numbers: scalars; chunk by chunk the filters of vectors along the pair
// and, unless it is the first layer, of carried vectors; the same for quadrupoles. All offsets
// within a chunk are constants: the loops run out of address registers otherwise.
template <class Real> struct MessageArrays {
  int F, V, Q, M;
  Table<Real> table;
  const PairGeometry<Real> *geometry;
  const int32_t *row, *center, *neighbor;
  const Real *sent, *vectors, *quadrupoles; // what the neighbors offer
  Real *h, *v, *t;                          // what the centers receive
};

// The same for the reverse pass: adjoints of what was received, read from all atoms; adjoints of
// what was offered, written.
template <class Real> struct ReverseArrays {
  int F, V, Q, M;
  Table<Real> table;
  PairGeometry<Real> *geometry;
  const int32_t *row, *center, *neighbor;
  const Real *sent, *vectors, *quadrupoles;
  const Real *gh, *gv, *gt;
  Real *sent_bar, *v_bar, *t_bar;
};

// Real spherical harmonics of degree 2 of a unit vector: xy, yz, z2, xz, x2-y2.
template <class Real> MLFF_INLINE void harmonics(const Real *u, Real *y) {
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

// kPlanes of what is received: the neighbor's message along y, and what it carries itself.
template <class Real, int W, int kPlanes, bool kFirst, bool kBoth, bool kOdd>
MLFF_INLINE void receive_chunks(int features, int stride, const typename Simd<Real, W>::Vec *b,
                                const Real *y, Table<Real> table, const Real *sj, const Real *si,
                                const Real *vj, const Real *vi, Real *oj, Real *oi) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  constexpr int kKinds = kFirst ? 1 : 2;
  for (int c = 0; c < features; c += W) {
    const Vec w = filter<Real, W>(table, stride, b);
    const Vec xj = w * S::load(sj), xi = kOdd ? -(w * S::load(si)) : w * S::load(si);
    Vec zj = {}, zi = {};
    if (!kFirst) {
      const Vec carried = filter<Real, W>(table.at(W), stride, b);
      zj = carried * S::load(sj + W);
      zi = carried * S::load(si + W);
    }
#pragma GCC unroll 5
    for (int x = 0; x < kPlanes; x++) {
      Vec to_i = S::load(oi + x * W) + xj * y[x];
      if (!kFirst)
        to_i += zj * S::load(vj + x * W);
      S::store(oi + x * W, to_i);
      if (kBoth) {
        Vec to_j = S::load(oj + x * W) + xi * y[x];
        if (!kFirst)
          to_j += zi * S::load(vi + x * W);
        S::store(oj + x * W, to_j);
      }
    }
    table = table.at(kKinds * W), sj += kKinds * W, si += kKinds * W;
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
  for (int64_t p = from; p < to; p++) {
    // Copies: stores to features must not make the compiler read them again.
    const PairGeometry<Real> o = m.geometry[p];
    const Vec b[3] = {S::all(o.b[0]), S::all(o.b[1]), S::all(o.b[2])};
    const int64_t i = m.center[p], j = m.neighbor[p];
    const Table<Real> table = m.table.interval(m.row[p], M);
    const Real *si = m.sent + i * M, *sj = m.sent + j * M;
    Real *hi = m.h + i * F, *hj = m.h + j * F;
    for (int c = 0; c < F; c += W) {
      const Vec w = filter<Real, W>(table.at(c), M, b);
      S::store(hi + c, S::load(hi + c) + w * S::load(sj + c));
      if (kBoth)
        S::store(hj + c, S::load(hj + c) + w * S::load(si + c));
    }
    receive_chunks<Real, W, 3, kFirst, kBoth, true>(V, M, b, o.u, table.at(F), sj + F, si + F,
                                                    m.vectors + j * 3 * V, m.vectors + i * 3 * V,
                                                    m.v + j * 3 * V, m.v + i * 3 * V);
    Real y[5];
    harmonics(o.u, y);
    receive_chunks<Real, W, 5, kFirst, kBoth, false>(
        Q, M, b, y, table.at(at_quadrupoles), sj + at_quadrupoles, si + at_quadrupoles,
        m.quadrupoles + j * 5 * Q, m.quadrupoles + i * 5 * Q, m.t + j * 5 * Q, m.t + i * 5 * Q);
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

// Reverse of receive_chunks. gi, gj: adjoints of what both atoms received. Written: sbi, sbj, of
// what they sent; vbi, vbj, of what they carry; gy, of y; gr, of the distance. The order of the
// statements keeps what is alive within sixteen registers.
template <class Real, int W, int kPlanes, bool kFirst, bool kBoth, bool kOdd>
MLFF_INLINE void
reverse_chunks(int features, int stride, const typename Simd<Real, W>::Vec *b,
               const typename Simd<Real, W>::Vec *d, const typename Simd<Real, W>::Vec *y,
               Table<Real> table, const Real *sj, const Real *si, const Real *vj, const Real *vi,
               const Real *gj, const Real *gi, Real *sbj, Real *sbi, Real *vbj, Real *vbi,
               typename Simd<Real, W>::Vec &gr, typename Simd<Real, W>::Vec *gy) {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  constexpr int kKinds = kFirst ? 1 : 2;
  for (int c = 0; c < features; c += W) {
    Vec w, w_slope, carried = {}, carried_slope = {};
    filter_and_slope<Real, W>(table, stride, b, d, w, w_slope);
    const Vec wj = w * S::load(sj), wi = kOdd ? -(w * S::load(si)) : w * S::load(si);
    Vec along_i = {}, along_j = {}, on_i = {}, on_j = {}, cj = {}, ci = {};
    if (!kFirst) {
      filter_and_slope<Real, W>(table.at(W), stride, b, d, carried, carried_slope);
      cj = carried * S::load(sj + W);
      ci = carried * S::load(si + W);
    }
#pragma GCC unroll 5
    for (int x = 0; x < kPlanes; x++) {
      const Vec at_i = S::load(gi + x * W), at_j = S::load(gj + x * W);
      along_i += at_i * y[x];
      along_j += at_j * y[x];
      gy[x] += at_i * wj;
      gy[x] += at_j * wi;
      if (kFirst)
        continue;
      on_i += at_i * S::load(vj + x * W);
      on_j += at_j * S::load(vi + x * W);
      S::store(vbi + x * W, S::load(vbi + x * W) + at_j * ci);
      if (kBoth)
        S::store(vbj + x * W, S::load(vbj + x * W) + at_i * cj);
    }
    if (kOdd)
      along_j = -along_j;
    Vec adjoint = along_i * S::load(sj);
    adjoint += along_j * S::load(si);
    gr += adjoint * w_slope;
    if (!kFirst) {
      S::store(sbi, S::load(sbi) + along_j * w);
      if (kBoth)
        S::store(sbj, S::load(sbj) + along_i * w);
      adjoint = on_i * S::load(sj + W);
      adjoint += on_j * S::load(si + W);
      gr += adjoint * carried_slope;
      S::store(sbi + W, S::load(sbi + W) + on_j * carried);
      if (kBoth)
        S::store(sbj + W, S::load(sbj + W) + on_i * carried);
    }
    table = table.at(kKinds * W), sj += kKinds * W, si += kKinds * W, sbj += kKinds * W,
    sbi += kKinds * W;
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
    const Real *si = m.sent + i * M, *sj = m.sent + j * M;
    const Real *ghi = m.gh + i * F, *ghj = m.gh + j * F;
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
    reverse_chunks<Real, W, 3, kFirst, kBoth, true>(
        V, M, b, d, u, table.at(F), sj + F, si + F, m.vectors + j * 3 * V, m.vectors + i * 3 * V,
        m.gv + j * 3 * V, m.gv + i * 3 * V, sbj + F, sbi + F, m.v_bar + j * 3 * V,
        m.v_bar + i * 3 * V, gr, gu);
    Real harmonic[5];
    harmonics(o.u, harmonic);
    const Vec y[5] = {S::all(harmonic[0]), S::all(harmonic[1]), S::all(harmonic[2]),
                      S::all(harmonic[3]), S::all(harmonic[4])};
    const int at = at_quadrupoles;
    reverse_chunks<Real, W, 5, kFirst, kBoth, false>(
        Q, M, b, d, y, table.at(at), sj + at, si + at, m.quadrupoles + j * 5 * Q,
        m.quadrupoles + i * 5 * Q, m.gt + j * 5 * Q, m.gt + i * 5 * Q, sbj + at, sbi + at,
        m.t_bar + j * 5 * Q, m.t_bar + i * 5 * Q, gr, gy);
    const Real c = Real(1.7320508075688772935);
    gu[0] += c * (o.u[1] * gy[0] + o.u[2] * gy[3] + o.u[0] * gy[4]);
    gu[1] += c * (o.u[0] * gy[0] + o.u[2] * gy[1] - o.u[1] * gy[4]);
    gu[2] += c * (o.u[1] * gy[1] + o.u[0] * gy[3]) + Real(3) * o.u[2] * gy[2];
    Real total[4];
    S::sum4(gu[0], gu[1], gu[2], gr, total);
    for (int k = 0; k < 4; k++)
      m.geometry[p].g[k] = o.g[k] + total[k];
  }
}

} // namespace
