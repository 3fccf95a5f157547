/* Drives the native engine from plain C on small structures: what the sanitizers watch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mlff_native.h"

enum { SPECIES = 2, RBF = 3, KNOTS = 16, HIDDEN = 20, VECTORS = 9, QUADRUPOLES = 4, MLP = 11 };

static unsigned state = 1;
static double uniform(void) {
  state = state * 1664525u + 1013904223u;
  return (state >> 8) / 16777216.0 - 0.5;
}

static int fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  return 1;
}

int main(void) {
  const int layers = 2, readout = HIDDEN / 2, fresh = HIDDEN + VECTORS + QUADRUPOLES;
  const int inputs = HIDDEN + 2 * VECTORS + 2 * QUADRUPOLES;
  long count = SPECIES * HIDDEN + readout * HIDDEN + 2 * readout + 1;
  for (int l = 0; l < layers; l++) {
    const int messages = fresh + (l ? VECTORS + QUADRUPOLES : 0),
              gates = l == layers - 1 ? HIDDEN : fresh;
    count += messages * RBF + messages + MLP * HIDDEN + MLP + messages * MLP + messages;
    count += 2 * VECTORS * VECTORS + QUADRUPOLES * QUADRUPOLES + MLP * inputs + MLP + gates * MLP +
             gates;
  }
  float *weights = malloc(count * sizeof(float));
  for (long k = 0; k < count; k++)
    weights[k] = (float)uniform();
  double *splines = calloc((KNOTS - 1) * 4 * (RBF + 1), sizeof(double));
  const double start = 0.5, cutoff = 3.0;
  for (int j = 0; j < KNOTS - 1; j++)
    for (int k = 0; k <= RBF; k++) { /* a parabola that ends flat at the cutoff */
      const double x = 1.0 - j / (KNOTS - 1.0), step = 1.0 / (KNOTS - 1);
      double *c = splines + j * 4 * (RBF + 1) + k;
      c[0] = x * x;
      c[RBF + 1] = -2.0 * x * step;
      c[2 * (RBF + 1)] = step * step;
    }
  const double shifts[SPECIES] = {-1.0, 2.0};
  const double prior[3 * SPECIES * SPECIES] = {10, 20, 20, 30, 2, 2, 2, 2, 0.8, 0.9, 0.9, 1.0};
  mlff_student student = {0};
  student.abi = MLFF_NATIVE_ABI;
  student.hidden = HIDDEN, student.vectors = VECTORS, student.quadrupoles = QUADRUPOLES;
  student.layers = layers, student.num_rbf = RBF, student.knots = KNOTS, student.mlp = MLP;
  student.readout = readout, student.species = SPECIES;
  student.cutoff_A = cutoff, student.grid_start_A = start;
  student.neighbor_norm = 12.0, student.norm_epsilon = 1e-4, student.energy_scale_eV = 1.0;
  student.floor_end = 0.94, student.floor_width = 0.17;
  student.atomic_energies_eV = shifts, student.prior = prior, student.splines = splines;
  student.weights = weights, student.num_weights = count;

  char error[200] = "", *sets = strdup(mlff_instruction_sets());
  student.num_weights--;
  mlff_options options = {1, 1, 0.5, 0.05, NULL};
  if (mlff_engine_new(&student, &options, error, sizeof error) || !*error)
    return fail("too few weights were accepted");
  student.num_weights++;
  for (char *set = strtok(sets, " "); set; set = strtok(NULL, " "))
    for (int single = 0; single < 2; single++)
      for (int threads = 1; threads <= 2; threads++) {
        options.single_precision = single, options.threads = threads, options.instruction_set = set;
        mlff_engine *engine = mlff_engine_new(&student, &options, error, sizeof error);
        if (!engine)
          return fail(error);
        for (int n = 1; n <= 31; n += 6)
          for (int periodic = 0; periodic < 2; periodic++) {
            int32_t species[31], centers[961], neighbors[961];
            double r[93], energies[31], forces[93], virial[9], vectors[3 * 961], gradients[3 * 961];
            const double cell[9] = {4.1, 0, 0, 0.5, 4.2, 0, 0.1, 0.2, 4.3};
            const uint8_t pbc[3] = {(uint8_t)periodic, (uint8_t)periodic, 0};
            for (int i = 0; i < n; i++) {
              species[i] = i % SPECIES;
              for (int x = 0; x < 3; x++)
                r[3 * i + x] = 1.3 * (x == 0   ? i % 3
                                      : x == 1 ? i / 3 % 3
                                               : i / 9) +
                               0.2 * uniform();
            }
            int status =
                mlff_engine_compute(engine, n, species, r, cell, pbc, energies, forces, virial);
            if (status)
              return fail(mlff_engine_error(engine));
            double sum = 0.0, largest = 0.0;
            for (int k = 0; k < 3 * n; k++) {
              sum += forces[k];
              largest = fmax(largest, fabs(forces[k]));
            }
            if (!isfinite(largest) || fabs(sum) > 1e-4 * (1.0 + largest) * n)
              return fail("forces do not sum to zero");
            int edges = 0;
            for (int i = 0; i < n; i++)
              for (int j = 0; j < n; j++) {
                double square = 0.0;
                for (int x = 0; x < 3; x++) {
                  vectors[3 * edges + x] = r[3 * j + x] - r[3 * i + x];
                  square += vectors[3 * edges + x] * vectors[3 * edges + x];
                }
                if (i != j && square < cutoff * cutoff)
                  centers[edges] = i, neighbors[edges] = j, edges++;
              }
            double again[31];
            status = mlff_engine_edges(engine, n, species, NULL, edges, centers, neighbors, vectors,
                                       again, gradients);
            if (status)
              return fail(mlff_engine_error(engine));
            for (int i = 0; !periodic && i < n; i++)
              if (fabs(again[i] - energies[i]) > 1e-3 * (1.0 + fabs(energies[i])))
                return fail("edges and structure give different energies");
            r[0] = NAN;
            if (mlff_engine_compute(engine, n, species, r, cell, pbc, energies, forces, virial) !=
                MLFF_NOT_FINITE)
              return fail("NaN was accepted");
          }
        mlff_engine_free(engine);
      }
  free(weights);
  free(splines);
  free(sets);
  puts("ok");
  return 0;
}
