// SPDX-License-Identifier: MIT
// The native engine's library, opened at run time.
#pragma once

#include <string>

#include "mlff_native.h"

namespace mlff_plugin {

// Functions of mlff_native.h.
#define MLFF_KERNEL_FUNCTIONS(X)                                                                   \
  X(mlff_abi)                                                                                      \
  X(mlff_engine_new)                                                                               \
  X(mlff_engine_free)                                                                              \
  X(mlff_engine_instruction_set)                                                                   \
  X(mlff_engine_error)                                                                             \
  X(mlff_engine_bytes)                                                                             \
  X(mlff_engine_edges)                                                                             \
  X(mlff_scalars_sent)                                                                             \
  X(mlff_stage_begin)                                                                              \
  X(mlff_stage_send)                                                                               \
  X(mlff_stage_receive)                                                                            \
  X(mlff_stage_read_out)                                                                           \
  X(mlff_stage_update_reverse)                                                                     \
  X(mlff_stage_receive_reverse)                                                                    \
  X(mlff_stage_end)                                                                                \
  X(mlff_stage_bytes)                                                                              \
  X(mlff_stage_pack)                                                                               \
  X(mlff_stage_unpack)

struct Kernel {
#define MLFF_MEMBER(name) decltype(&::name) name = nullptr;
  MLFF_KERNEL_FUNCTIONS(MLFF_MEMBER)
#undef MLFF_MEMBER
};

// Opens the library; it stays open until the process ends. Returns what is wrong, or nothing.
std::string open_kernel(const std::string &path, Kernel *kernel);

} // namespace mlff_plugin
