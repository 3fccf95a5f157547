// SPDX-License-Identifier: GPL-2.0-or-later
// pair_style python for a LAMMPS without its PYTHON package: decks that name
// mlff_md.lammps.Student run on either.
#pragma once

#include "pair_mlff.h"

namespace mlff_plugin {

class PairPython : public PairMLFF {
public:
  explicit PairPython(LAMMPS_NS::LAMMPS *lammps);
  void settings(int narg, char **arg) override;
  void coeff(int narg, char **arg) override;
  double init_one(int i, int j) override;

private:
  std::string chosen(const std::string &name, const char *otherwise) const;

  double cutoff_ = 0.0; // of the deck
};

} // namespace mlff_plugin
