// Vectors of numbers through the compiler's vector extension: one source for every instruction set.
//
// Everything is in an unnamed namespace: each instruction set has its own translation unit, and
// the linker must never merge a function of one into another.
#pragma once

#include <stdint.h>
#include <string.h>

#define MLFF_INLINE static inline __attribute__((always_inline))

#if defined(__clang__) || __GNUC__ >= 12
#define MLFF_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MLFF_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (QuadIndex){__VA_ARGS__})
#endif

namespace {

template <class Real> struct Bits;
template <> struct Bits<float> {
  typedef int32_t Int;
  static constexpr float kRound = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kLimit = 87.0f;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  // Taylor coefficients of exp, least squares on |x| < ln(2) / 2 (Cephes).
  static constexpr int kTerms = 6;
  static constexpr float kExp[kTerms] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                         4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
};
template <> struct Bits<double> {
  typedef int64_t Int;
  static constexpr double kRound = 6755399441055744.0; // 1.5 * 2^52
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kLimit = 700.0;
  static constexpr double kLn2High = 6.93145751953125e-1, kLn2Low = 1.42860682030941723212e-6;
  static constexpr int kTerms = 12; // 1 / n! from 13 down to 2: 4e-17 on |x| < ln(2) / 2
  static constexpr double kExp[kTerms] = {
      1.6059043836821613e-10, 2.08767569878681e-9,   2.505210838544172e-8,  2.755731922398589e-7,
      2.7557319223985893e-6,  2.48015873015873e-5,   1.984126984126984e-4,  1.3888888888888889e-3,
      8.333333333333333e-3,   4.1666666666666664e-2, 1.6666666666666666e-1, 0.5};
};

// W numbers at once.
template <class Real, int W> struct Simd {
  typedef Real Vec __attribute__((vector_size(W * sizeof(Real))));
  typedef Real Quad __attribute__((vector_size(4 * sizeof(Real))));
  typedef typename Bits<Real>::Int QuadIndex
      __attribute__((vector_size(4 * sizeof(typename Bits<Real>::Int))));
  typedef typename Bits<Real>::Int IntVec
      __attribute__((vector_size(W * sizeof(typename Bits<Real>::Int))));

  MLFF_INLINE Vec load(const Real *p) {
    Vec v;
    memcpy(&v, p, sizeof v);
    return v;
  }
  MLFF_INLINE void store(Real *p, Vec v) { memcpy(p, &v, sizeof v); }
  MLFF_INLINE Vec all(Real x) { return x - Vec{}; }
  MLFF_INLINE Real sum(Vec v) {
    // Pairwise, in an order of its own: the same for every instruction set of this width.
    Real part[W];
    store(part, v);
    for (int half = W / 2; half > 0; half /= 2)
      for (int k = 0; k < half; k++)
        part[k] += part[k + half];
    return part[0];
  }
  // A vector's lanes added up to four; the others of a shorter one are zero.
  MLFF_INLINE void fold(Vec v, Quad &to) {
    Quad parts[W < 4 ? 1 : W / 4] = {};
    memcpy(parts, &v, sizeof v);
    for (int half = W / 8; half > 0; half /= 2)
      for (int k = 0; k < half; k++)
        parts[k] += parts[k + half];
    to = parts[0];
  }
  // Adds the sums of four vectors: with shuffles, scalar code would cost as much as a whole chunk
  // of features.
  MLFF_INLINE void add_sums(Real to[4], Vec a, Vec b, Vec c, Vec d) {
    Quad p, q, r, s, total;
    fold(a, p);
    fold(b, q);
    fold(c, r);
    fold(d, s);
    memcpy(&total, to, sizeof total);
    const Quad pq = MLFF_SHUFFLE(p, q, 0, 4, 1, 5) + MLFF_SHUFFLE(p, q, 2, 6, 3, 7);
    const Quad rs = MLFF_SHUFFLE(r, s, 0, 4, 1, 5) + MLFF_SHUFFLE(r, s, 2, 6, 3, 7);
    total += MLFF_SHUFFLE(pq, rs, 0, 1, 4, 5) + MLFF_SHUFFLE(pq, rs, 2, 3, 6, 7);
    memcpy(to, &total, sizeof total);
  }
  MLFF_INLINE Vec exp(Vec x) {
    typedef Bits<Real> B;
    const Vec top = all(B::kLimit);
    x = x < -top ? -top : x;
    x = x > top ? top : x;
    const Vec shifted = x * Real(1.44269504088896340736) + B::kRound;
    const Vec n = shifted - B::kRound;
    Vec r = x - n * B::kLn2High;
    r = r - n * B::kLn2Low;
    Vec p = all(B::kExp[0]);
    for (int k = 1; k < B::kTerms; k++)
      p = p * r + B::kExp[k];
    const Vec y = (p * r) * r + r + Real(1);
    IntVec bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + B::kBias) << B::kMantissa;
    Vec scale;
    memcpy(&scale, &bits, sizeof scale);
    return y * scale;
  }
  MLFF_INLINE Vec sigmoid(Vec x) { return Real(1) / (Real(1) + exp(-x)); }
  // q = T p for the symmetric traceless matrix T with the components xy, yz, z2, xz, x2-y2.
  MLFF_INLINE void turn(const Vec t[5], const Vec p[3], Vec q[3]) {
    const Vec z = t[2] * Real(0.57735026918962576451);
    q[0] = (t[4] - z) * p[0] + t[0] * p[1] + t[3] * p[2];
    q[1] = t[0] * p[0] - (t[4] + z) * p[1] + t[1] * p[2];
    q[2] = t[3] * p[0] + t[1] * p[1] + (z + z) * p[2];
  }
  // Derivative of the above by t, given that by q.
  MLFF_INLINE void turn_reverse(const Vec q[3], const Vec p[3], Vec t[5]) {
    t[0] = q[0] * p[1] + q[1] * p[0];
    t[1] = q[1] * p[2] + q[2] * p[1];
    t[2] = (q[2] * p[2] + q[2] * p[2] - q[0] * p[0] - q[1] * p[1]) * Real(0.57735026918962576451);
    t[3] = q[0] * p[2] + q[2] * p[0];
    t[4] = q[0] * p[0] - q[1] * p[1];
  }
  MLFF_INLINE Vec sqrt(Vec x) {
    Real part[W];
    store(part, x);
    for (int k = 0; k < W; k++)
      part[k] = sizeof(Real) == 4 ? Real(__builtin_sqrtf(part[k])) : Real(__builtin_sqrt(part[k]));
    return load(part);
  }
};

} // namespace
