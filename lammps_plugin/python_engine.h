// SPDX-License-Identifier: MIT
// Engines that live in Python (mlff_md/lammps/callback.py), called in this process.
#pragma once

#include <cstdint>
#include <string>

namespace mlff_plugin {

// Shared with callback.py, which fills what stands below the line.
struct Callback {
  std::int32_t version = 1;
  std::int32_t threads = 1;
  const char *student = nullptr, *engine = nullptr, *dtype = nullptr, *device = nullptr;
  // ----
  std::int64_t id = 0;
  // Graph as in mlff_engine_edges; 0, or 1 with one line in `error`.
  std::int32_t (*evaluate)(std::int64_t id, std::int64_t n, const std::int32_t *species,
                           const std::uint8_t *local, std::int64_t num_edges,
                           const std::int32_t *centers, const std::int32_t *neighbors,
                           const double *vectors, double *energies, double *gradients, char *error,
                           std::int64_t error_size) = nullptr;
  void (*close)(std::int64_t id) = nullptr;
  char description[256] = {};
  char error[1024] = {};
};

// Uses the interpreter that runs in this process, or starts one. Returns what is wrong, or nothing.
std::string open_callback(Callback *callback);

} // namespace mlff_plugin
