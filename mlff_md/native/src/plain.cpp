// The network for any machine: 128-bit vectors, which x86-64 and aarch64 always have.
#include "kernel.h"

namespace mlff {
Kernel plain_kernel(bool single) {
  return single ? kernel<float, 4, 4, 2>() : kernel<double, 2, 4, 2>();
}
} // namespace mlff
