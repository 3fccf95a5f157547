// Included once by the file of each instruction set, after it has chosen its target.
#pragma once

#include <new>

#include "network.h"

namespace {

template <class Real, int W, int kRows, int kVecs>
mlff::Network *make_network(const mlff::Shape &shape, const mlff::Weights &weights) {
  return new (std::nothrow) StudentNetwork<Real, W, kRows, kVecs>(shape, weights);
}

template <class Real, int W, int kRows, int kVecs>
double spin(int64_t rounds, volatile double *sink) {
  typedef Simd<Real, W> S;
  // As many independent chains as the matrix product keeps in registers; nothing about the
  // numbers is known to the compiler, or it would not run the loop at all.
  const Real start = Real(*sink);
  typename S::Vec sum[kRows * kVecs], x = S::all(Real(0.5) + start), y = S::all(start);
  for (int r = 0; r < kRows * kVecs; r++)
    sum[r] = S::all(start + Real(r));
  for (int64_t k = 0; k < rounds; k++)
#pragma GCC unroll 32
    for (int r = 0; r < kRows * kVecs; r++)
      sum[r] = sum[r] * x + y;
  double total = 0.0;
  for (auto &s : sum)
    total += double(S::sum(s));
  *sink = total * 0.0;
  return 2.0 * W * kRows * kVecs * double(rounds);
}

template <class Real, int W, int kRows, int kVecs> mlff::Kernel kernel() {
  return {make_network<Real, W, kRows, kVecs>, spin<Real, W, kRows, kVecs>};
}

} // namespace
