/* The native engine of mlff_md: a student's energies, forces and virial from plain C.
 *
 * Units: eV, Å. Nothing here throws, prints or exits. One engine serves one structure at a time
 * and must not be used by two threads at once; any number of engines may run side by side. */
#ifndef MLFF_NATIVE_H
#define MLFF_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a structure or a function below changes its meaning. */
#define MLFF_NATIVE_ABI 2

/* Centers whose pairs are worked through together: as many as fit the L1 cache. More, or a number
 * that depends on the student, gained nothing. */
#define MLFF_NATIVE_TILE 4

typedef struct mlff_engine mlff_engine;

/* A student. Pointers are read by mlff_engine_new alone and may be freed afterwards. */
typedef struct {
  int32_t abi; /* MLFF_NATIVE_ABI */
  int32_t hidden, vectors, quadrupoles, layers, num_rbf, knots, mlp, readout, species;
  double cutoff_A, neighbor_norm, norm_epsilon, energy_scale_eV;
  double grid_start_A;              /* where the radial splines begin */
  double floor_end, floor_width;    /* of the distance floor, in parts of the prior's end */
  const double *atomic_energies_eV; /* [species] */
  const double *prior;              /* [3][species * species]: eV Å, 1/Å, Å */
  const double *splines;            /* radial functions: [knots - 1][4][num_rbf + 1] */
  const float *weights;             /* in the order of Architecture.weight_shapes() */
  int64_t num_weights;
} mlff_student;

typedef struct {
  int32_t single_precision;    /* 0: everything in double precision */
  int32_t threads;             /* 1 or more */
  double skin_A;               /* of the neighbor list of mlff_engine_compute */
  double shortest_A;           /* two atoms closer than this are refused */
  const char *instruction_set; /* of mlff_instruction_sets(); NULL: the best of this machine */
} mlff_options;

enum {
  MLFF_OK = 0,
  MLFF_NO_MEMORY = 1,
  MLFF_BAD_ARGUMENT = 2, /* see mlff_engine_error */
  MLFF_NOT_FINITE = 3,   /* a position or cell vector is not finite */
  MLFF_OVERLAP = 4       /* two atoms closer than shortest_A */
};

#pragma GCC visibility push(default)

int32_t mlff_abi(void);

/* Names of the instruction sets that this library and this machine both have, best first,
 * separated by spaces. */
const char *mlff_instruction_sets(void);

/* NULL on failure, with one line in `error`. */
mlff_engine *mlff_engine_new(const mlff_student *student, const mlff_options *options, char *error,
                             size_t error_size);
void mlff_engine_free(mlff_engine *engine);
const char *mlff_engine_instruction_set(const mlff_engine *engine);
const char *mlff_engine_error(const mlff_engine *engine); /* of the last call that failed */
int64_t mlff_engine_bytes(const mlff_engine *engine);     /* memory held */
int64_t mlff_engine_list_builds(const mlff_engine *engine);
int64_t mlff_engine_pairs(const mlff_engine *engine); /* pairs evaluated in the last call */
void mlff_engine_reset(mlff_engine *engine);          /* forgets the neighbor list */

/* One structure. cell: rows are vectors; those of open directions are not used.
 * energies [n]: of each atom. forces [n][3]. virial [9]: derivative of the energy by a strain. */
int32_t mlff_engine_compute(mlff_engine *engine, int64_t n, const int32_t *species,
                            const double *positions, const double cell[9],
                            const uint8_t periodic[3], double *energies, double *forces,
                            double *virial);

/* The engine contract of mlff_md.engines: directed edges in, atomic energies and the derivatives
 * by the edge vectors out. Edges are sorted by center and hold both directions of every pair.
 * A pair's derivative may stand on either of its two edges or be shared by them: their sum over
 * both, with the sign of the vector, is what forces and virial are made of.
 * local [n]: atoms whose energy counts; NULL: all. */
int32_t mlff_engine_edges(mlff_engine *engine, int64_t n, const int32_t *species,
                          const uint8_t *local, int64_t num_edges, const int32_t *centers,
                          const int32_t *neighbors, const double *vectors, double *energies,
                          double *gradients);

/* The scalars that atoms sent to their neighbors in a layer of the last evaluation: [count][hidden]
 * numbers of the engine's precision. */
void mlff_scalars_sent(const mlff_engine *engine, int32_t layer, int64_t count,
                       const int32_t *atoms, void *buffer);

/* The same evaluation layer by layer, for domains that own their first num_owned atoms and see
 * copies of others behind them. Pairs are those within the cutoff, in any order; fastest is
 * MLFF_NATIVE_TILE centers after MLFF_NATIVE_TILE centers, each time by neighbor. The first
 * num_two_sided join two different owned atoms and stand for both directions; the others start at
 * an owned atom and act on it alone, so those of an atom with an image of itself are given in both
 * directions. Before mlff_stage_receive the copies need what their owners packed with reverse = 0,
 * before mlff_stage_receive_reverse what they packed with reverse = 1 (mlff_stage_bytes says how
 * much, it may be nothing); nothing else is exchanged, and no message is computed twice. begin; per
 * layer: send, [exchange], receive; read_out; per layer, last first: update_reverse, [exchange],
 * receive_reverse; end. */
int32_t mlff_stage_begin(mlff_engine *engine, int64_t num_owned, int64_t n, const int32_t *species,
                         int64_t num_pairs, int64_t num_two_sided, const int32_t *centers,
                         const int32_t *neighbors, const double *vectors);
void mlff_stage_send(mlff_engine *engine, int32_t layer);
void mlff_stage_receive(mlff_engine *engine, int32_t layer);
void mlff_stage_read_out(mlff_engine *engine);
void mlff_stage_update_reverse(mlff_engine *engine, int32_t layer);
void mlff_stage_receive_reverse(mlff_engine *engine, int32_t layer);
/* energies [num_owned], forces [num_owned][3], virial [9]: this domain's share. */
void mlff_stage_end(mlff_engine *engine, double *energies, double *forces, double *virial);
int32_t mlff_stage_bytes(const mlff_engine *engine, int32_t layer, int32_t reverse);
void mlff_stage_pack(const mlff_engine *engine, int32_t layer, int32_t reverse, int64_t count,
                     const int32_t *atoms, void *buffer);
void mlff_stage_unpack(mlff_engine *engine, int32_t layer, int32_t reverse, int64_t count,
                       const int32_t *atoms, const void *buffer);

/* Runs fused multiply-adds on registers alone and returns how many floating-point operations that
 * were: what a core can do at most, for benchmarks. 0 if there is no such instruction set. */
double mlff_spin(const char *instruction_set, int32_t single_precision, int64_t rounds);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
