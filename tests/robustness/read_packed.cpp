// Reads many packed students from one file, each behind its length (uint64), and prints for each
// whether it was accepted. Built with the sanitizers by test_fuzz_packed.py, with the engine that
// then evaluates what was accepted or, to save time, without (WITHOUT_ENGINE).
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "mlff_native.h"
#include "packed_student.h"

namespace {

// Uses all that an accepted student says: the sanitizers see it if that is not there.
double touch(const mlff_plugin::PackedStudent &s) {
  const mlff_student &p = s.spec;
  double sum = p.cutoff_A + s.shortest_A + s.mass("H") + s.find("Cl") + double(s.name.size());
  for (int k = 0; k < p.species; k++)
    sum += p.atomic_energies_eV[k];
  for (std::int64_t k = 0; k < 3LL * p.species * p.species; k++)
    sum += p.prior[k];
  for (std::int64_t k = 0; k < 4LL * (p.knots - 1) * (p.num_rbf + 1); k++)
    sum += p.splines[k];
  for (std::int64_t k = 0; k < p.num_weights; k++)
    sum += p.weights[k];
  return sum;
}

// Makes an engine of it and evaluates a water molecule.
void evaluate([[maybe_unused]] const mlff_plugin::PackedStudent &s) {
#ifndef WITHOUT_ENGINE
  mlff_options options = {};
  options.single_precision = 1;
  options.threads = 1;
  options.skin_A = 1.0;
  options.shortest_A = s.shortest_A;
  char error[512] = {};
  mlff_engine *engine = mlff_engine_new(&s.spec, &options, error, sizeof error);
  if (!engine)
    return;
  const std::int32_t species[3] = {0, 0, std::int32_t(s.spec.species - 1)};
  const double positions[9] = {0.0, 0.76, -0.48, 0.0, -0.76, -0.48, 0.0, 0.0, 0.12};
  const double cell[9] = {};
  const unsigned char periodic[3] = {};
  double energies[3], forces[9], virial[9];
  mlff_engine_compute(engine, 3, species, positions, cell, periodic, energies, forces, virial);
  mlff_engine_free(engine);
#endif
}

} // namespace

int main(int count, char **words) {
  std::vector<char> all;
  if (count != 2 || !mlff_plugin::read_file(words[1], &all).empty())
    return 2;
  volatile double sum = 0.0;
  for (std::size_t at = 0; at + 8 <= all.size();) {
    std::uint64_t size;
    std::memcpy(&size, &all[at], 8);
    at += 8;
    mlff_plugin::PackedStudent student;
    // A copy of its own, exactly as long: reading past it is seen.
    const std::string wrong =
        mlff_plugin::parse(std::vector<char>(&all[at], &all[at] + size), &student);
    at += size;
    if (wrong.empty()) {
      sum = sum + touch(student);
      evaluate(student);
    }
    std::puts(wrong.empty() ? "accepted" : wrong.c_str());
  }
  return 0;
}
