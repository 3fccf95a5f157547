// SPDX-License-Identifier: MIT
// A student as written by mlff_md/lammps/pack.py, which describes the layout.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "guard.h"
#include "mlff_native.h"

namespace mlff_plugin {

struct PackedStudent {
  std::vector<char> content; // what `spec` points into
  mlff_student spec = {};
  double shortest_A = 0.0;
  KnownDomain domain;
  std::string name, sha256;
  std::vector<std::string> elements;
  std::vector<std::pair<std::string, double>> masses; // of all chemical elements, u

  // Index of an element; -1 if the student does not know it.
  int find(const std::string &symbol) const;
  double mass(const std::string &symbol) const; // u; 0: no such element
};

// Whether a file begins like a packed student.
bool is_packed(const std::string &path);

// Both return what is wrong; empty if all is well.
std::string read_file(const std::string &path, std::vector<char> *content);
std::string parse(std::vector<char> content, PackedStudent *student);

} // namespace mlff_plugin
