// C = A B (+ C or bias) for a small constant B, packed once into panels that stay in the L1 cache.
//
// Features of atoms are stored in chunks of W: [chunk][plane][W], with one plane for scalars,
// three for vectors, five for quadrupoles. Every plane of every atom is a row of A and C, so that
// one product mixes the vectors of many atoms. A block of rows x (kVecs chunks) of C lives in
// registers.
#pragma once

#include "layout.h"
#include "simd.h"

namespace {

using mlff::kPad;

enum class Start { kZero, kBias, kAdd };

template <class Real, int W, int kRows, int kVecs> struct Gemm {
  typedef Simd<Real, W> S;
  typedef typename S::Vec Vec;
  static constexpr int kPanel = W * kVecs;
  static constexpr int kNarrow = kPanel < kPad ? kPanel : kPad; // for what is left of the columns

  int rows = 0, cols = 0;       // of B; columns come in multiples of kPad, rows in multiples of W
  const Real *packed = nullptr; // panels of rows x kPanel
  const Real *bias = nullptr;   // [cols] or null

  // `at(row, col)` is B.
  template <class At> void pack(Real *to, int rows_, int cols_, At at, const Real *bias_) {
    rows = rows_;
    cols = cols_;
    packed = to;
    bias = bias_;
    for (int c = 0; c < cols;) {
      const int width = cols - c >= kPanel ? kPanel : kNarrow;
      for (int r = 0; r < rows; r++)
        for (int k = 0; k < width; k++)
          *to++ = at(r, c + k);
      c += width;
    }
  }

  // For n atoms, `a_stride` and `c_stride` numbers apart.
  template <int kPlanes = 1>
  void run(const Real *a, int a_stride, int n, Real *c, int c_stride, Start start) const {
    const Real *panel = packed;
    for (int col = 0; col < cols;) {
      const Real *b = bias ? bias + col : nullptr;
      Real *to = c + size_t(col) * kPlanes;
      if (cols - col >= kPanel) {
        panel_run<kVecs, kPlanes>(a, a_stride, n, panel, b, to, c_stride, start);
        panel += size_t(rows) * kPanel;
        col += kPanel;
      } else {
        panel_run<kNarrow / W, kPlanes>(a, a_stride, n, panel, b, to, c_stride, start);
        panel += size_t(rows) * kNarrow;
        col += kNarrow;
      }
    }
  }

private:
  template <int V, int kPlanes>
  void panel_run(const Real *a, int a_stride, int n, const Real *b, const Real *bias_, Real *c,
                 int c_stride, Start start) const {
    constexpr int kAtoms = kRows / kPlanes > 0 ? kRows / kPlanes : 1; // that fit a block
    int i = 0;
    for (; i + kAtoms <= n; i += kAtoms)
      block<kAtoms, V, kPlanes>(a + size_t(i) * a_stride, a_stride, b, bias_,
                                c + size_t(i) * c_stride, c_stride, start);
    if (kAtoms > 3)
      for (; i + 3 <= n; i += 3)
        block<3, V, kPlanes>(a + size_t(i) * a_stride, a_stride, b, bias_, c + size_t(i) * c_stride,
                             c_stride, start);
    for (; i < n; i++)
      block<1, V, kPlanes>(a + size_t(i) * a_stride, a_stride, b, bias_, c + size_t(i) * c_stride,
                           c_stride, start);
  }

  template <int kAtoms, int V, int kPlanes>
  inline __attribute__((always_inline)) void block(const Real *a, int a_stride, const Real *b,
                                                   const Real *bias_, Real *c, int c_stride,
                                                   Start start) const {
    constexpr int R = kAtoms * kPlanes;
    Vec sum[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Real *from = c + size_t(r / kPlanes) * c_stride + (r % kPlanes) * W;
#pragma GCC unroll 8
      for (int v = 0; v < V; v++)
        sum[r][v] = start == Start::kAdd    ? S::load(from + v * kPlanes * W)
                    : start == Start::kBias ? S::load(bias_ + v * W)
                                            : Vec{};
    }
    for (int m = 0; m < rows; m += W) {
      for (int k = 0; k < W; k++) {
        Vec row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
          row[v] = S::load(b + v * W);
        b += V * W;
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
          const Vec x = S::all(a[size_t(r / kPlanes) * a_stride + (r % kPlanes) * W + k]);
#pragma GCC unroll 8
          for (int v = 0; v < V; v++)
            sum[r][v] += x * row[v];
        }
      }
      a += kPlanes * W;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      Real *to = c + size_t(r / kPlanes) * c_stride + (r % kPlanes) * W;
#pragma GCC unroll 8
      for (int v = 0; v < V; v++)
        S::store(to + v * kPlanes * W, sum[r][v]);
    }
  }
};

} // namespace
