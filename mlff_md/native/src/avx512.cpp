// The network for x86-64 with AVX-512. Only this file may contain such instructions, so it
// includes nothing whose functions the linker could share with others.
#if defined(__x86_64__) && defined(__GNUC__)
#include <new>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#endif
#include "kernel.h"

namespace mlff {
Kernel avx512_kernel(bool single) {
  return single ? kernel<float, 16, 12, 2>() : kernel<double, 8, 12, 2>();
}
} // namespace mlff
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "layout.h"
namespace mlff {
Kernel avx512_kernel(bool) { return {nullptr, nullptr}; }
} // namespace mlff
#endif
