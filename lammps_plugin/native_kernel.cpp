// SPDX-License-Identifier: MIT
#include "native_kernel.h"

#include <dlfcn.h>

namespace mlff_plugin {

std::string open_kernel(const std::string &path, Kernel *kernel) {
  if (path.empty())
    return "the native engine was not built; install a C++ compiler and install mlff-md again, or "
           "choose another engine";
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return std::string("cannot load the native engine: ") + dlerror();
#define MLFF_LOOK_UP(name)                                                                         \
  kernel->name = reinterpret_cast<decltype(kernel->name)>(dlsym(library, #name));                  \
  if (!kernel->name)                                                                               \
    return "the native engine " + path + " lacks " #name "; install mlff-md again";
  MLFF_KERNEL_FUNCTIONS(MLFF_LOOK_UP)
#undef MLFF_LOOK_UP
  if (kernel->mlff_abi() != MLFF_NATIVE_ABI)
    return "the native engine " + path + " is of another version; install mlff-md again";
  return "";
}

} // namespace mlff_plugin
