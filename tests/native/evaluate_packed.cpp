// Evaluates structures with a packed student, in single and in double precision: a way to run the
// kernel where there is no Python. Built for another machine by test_other_machines.py.
//
//   evaluate_packed STUDENT < STRUCTURES
//
// A structure: number of atoms, cell (9 numbers), three flags of periodicity, and a line for each
// atom, SYMBOL X Y Z. Printed: instruction set, then for each structure and precision the energy,
// the virial (9 numbers) and the forces.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "mlff_native.h"
#include "packed_student.h"

namespace {

int fail(const std::string &what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  return 1;
}

void print(const double *numbers, std::size_t count) {
  for (std::size_t k = 0; k < count; k++)
    std::printf("%.17g ", numbers[k]);
}

} // namespace

int main(int count, char **words) {
  std::vector<char> content;
  mlff_plugin::PackedStudent student;
  if (count != 2)
    return fail("give a packed student");
  std::string wrong = mlff_plugin::read_file(words[1], &content);
  if (wrong.empty())
    wrong = mlff_plugin::parse(std::move(content), &student);
  if (!wrong.empty())
    return fail(wrong);
  std::puts(mlff_instruction_sets());

  std::size_t n;
  while (std::cin >> n) {
    double cell[9];
    std::uint8_t periodic[3];
    for (double &x : cell)
      std::cin >> x;
    for (std::uint8_t &flag : periodic) {
      int value;
      std::cin >> value;
      flag = std::uint8_t(value);
    }
    std::vector<std::int32_t> species(n);
    std::vector<double> positions(3 * n);
    for (std::size_t i = 0; i < n; i++) {
      std::string symbol;
      std::cin >> symbol >> positions[3 * i] >> positions[3 * i + 1] >> positions[3 * i + 2];
      species[i] = student.find(symbol);
    }
    for (int single : {0, 1}) {
      mlff_options options = {};
      options.single_precision = single;
      options.threads = 2;
      options.skin_A = 1.0;
      options.shortest_A = student.shortest_A;
      char error[512] = {};
      mlff_engine *engine = mlff_engine_new(&student.spec, &options, error, sizeof error);
      if (!engine)
        return fail(error);
      std::vector<double> energies(n), forces(3 * n), virial(9);
      if (mlff_engine_compute(engine, std::int64_t(n), species.data(), positions.data(), cell,
                              periodic, energies.data(), forces.data(), virial.data()) != MLFF_OK)
        return fail(mlff_engine_error(engine));
      mlff_engine_free(engine);
      double energy = 0.0;
      for (double e : energies)
        energy += e;
      print(&energy, 1);
      print(virial.data(), 9);
      print(forces.data(), 3 * n);
      std::puts("");
    }
  }
  return 0;
}
