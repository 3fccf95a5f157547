// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_python.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <utility>

#include "error.h"
#include "input.h"
#include "python_process.h"
#include "variable.h"

using namespace LAMMPS_NS;

namespace mlff_plugin {

static constexpr char kClass[] = "mlff_md.lammps.Student";

PairPython::PairPython(LAMMPS *lammps) : PairMLFF(lammps) { style_ = "python"; }

// As mlff_md/lammps/settings.py has it: a deck's variable, else the environment.
std::string PairPython::chosen(const std::string &name, const char *otherwise) const {
  const char *value = input->variable->retrieve(("mlff_" + name).c_str());
  if (value && *value)
    return value;
  std::string upper = "MLFF_MD_";
  for (const char c : name)
    upper += char(std::toupper(c));
  return environment(upper.c_str(), otherwise);
}

void PairPython::settings(int narg, char **arg) {
  if (narg != 1)
    error->all(FLERR, "write pair_style python CUTOFF");
  cutoff_ = utils::numeric(FLERR, arg[0], false, lmp);
  std::vector<std::string> words;
  for (const auto &[name, otherwise] :
       {std::pair{"engine", "auto"}, {"dtype", "float32"}, {"threads", "1"}, {"masses", "check"},
        {"guard", "off"}})
    words.insert(words.end(), {name, chosen(name, otherwise)});
  std::vector<char *> pointers;
  for (std::string &word : words)
    pointers.push_back(word.data());
  PairMLFF::settings(int(pointers.size()), pointers.data());
}

void PairPython::coeff(int narg, char **arg) {
  if (narg < 3 || std::strcmp(arg[0], "*") || std::strcmp(arg[1], "*"))
    error->all(FLERR, "write pair_coeff * * {} and one element per atom type", kClass);
  if (std::strcmp(arg[2], kClass))
    error->all(FLERR,
               "this LAMMPS has no PYTHON package: pair_style python runs {} here, not {}; for "
               "other classes use a LAMMPS that was built with PYTHON",
               kClass, arg[2]);
  load(chosen("student", "tiny"), narg - 3, arg + 3);
}

// LAMMPS' own style shows its class no pair beyond the deck's cutoff.
double PairPython::init_one(int i, int j) {
  const double own = PairMLFF::init_one(i, j);
  if (cutoff_ < own)
    error->all(FLERR, "pair_style python {}: the student needs at least {}", cutoff_, own);
  return std::max(own, cutoff_);
}

} // namespace mlff_plugin
