// SPDX-License-Identifier: MIT
// Asking Python, in a process of its own, for a student in a form that C++ can read.
#pragma once

#include <string>

namespace mlff_plugin {

struct PackedFiles {
  std::string student, kernel; // paths; kernel: empty if there is no native engine
};

// Runs `python -m mlff_md.lammps.pack STUDENT`. Returns what is wrong, or nothing.
std::string run_packer(const std::string &student, PackedFiles *files);

// $MLFF_MD_PYTHON, which the hook of mlff_md sets; else the Python that built this plugin.
std::string python_executable();

// An environment variable, unless it is unset or empty.
std::string environment(const char *name, const char *otherwise);

} // namespace mlff_plugin
