// SPDX-License-Identifier: MIT
// Whether a student was trained on what it is shown; mlff_md/guard is the same in Python.
#pragma once

#include <cstdint>
#include <vector>

namespace mlff_plugin {

// What the student's file says of its domain. Pointers are into the packed student.
struct KnownDomain {
  std::int64_t species = 0, width = 0;
  const double *shortest_A = nullptr;                 // [species][species]; 0: never met
  const double *low_eV = nullptr, *high_eV = nullptr; // [species], of an atom's energy
  double limit = 0.0;
  const float *mean = nullptr;     // [species][width]; nan: never met
  const float *whitener = nullptr; // [species][width][width], lower triangular

  bool has_pairs() const { return shortest_A != nullptr; }
  bool has_environments() const { return width > 0; }

  // How unusual an atom is, in parts of the limit; infinite for an element that was never met.
  template <class Real> double unusual(std::int32_t kind, const Real *features) const;
};

} // namespace mlff_plugin
