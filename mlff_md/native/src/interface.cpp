// The C interface: what ctypes and LAMMPS call.
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "engine.h"
#include "mlff_native.h"

using namespace mlff;

namespace {

struct InstructionSet {
  const char *name;
  Kernel (*kernel)(bool single_precision);
  bool (*here)();
};

bool always() { return true; }
#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
bool has_avx512() { return false; }
bool has_avx2() { return false; }
#endif

const InstructionSet kInstructionSets[] = {
    {"avx512", avx512_kernel, has_avx512},
    {"avx2", avx2_kernel, has_avx2},
    {"plain", plain_kernel, always},
};

bool available(const InstructionSet &set) { return set.here() && set.kernel(true).make != nullptr; }

// Any failure to allocate inside becomes a status: nothing throws through the C interface.
template <class Work> std::int32_t guarded(mlff_engine *engine, Work work) {
  try {
    return work();
  } catch (const std::bad_alloc &) {
    engine->list.reset();
    return engine->fail(MLFF_NO_MEMORY, "not enough memory");
  } catch (const std::exception &error) {
    engine->list.reset();
    return engine->fail(MLFF_BAD_ARGUMENT, error.what());
  }
}

} // namespace

extern "C" {

int32_t mlff_abi(void) { return MLFF_NATIVE_ABI; }

const char *mlff_instruction_sets(void) {
  static const std::string names = [] {
    std::string all;
    for (const InstructionSet &set : kInstructionSets)
      if (available(set))
        all += (all.empty() ? "" : " ") + std::string(set.name);
    return all;
  }();
  return names.c_str();
}

mlff_engine *mlff_engine_new(const mlff_student *student, const mlff_options *options, char *error,
                             size_t error_size) {
  const auto refuse = [&](const std::string &why) {
    if (error && error_size)
      std::snprintf(error, error_size, "%s", why.c_str());
    return nullptr;
  };
  try {
    if (options->threads < 1 || options->threads > 1024)
      return refuse("the number of threads must be 1..1024");
    StudentData data;
    std::string why;
    if (!data.load(*student, &why))
      return refuse(why);
    const bool single = options->single_precision != 0;
    for (const InstructionSet &set : kInstructionSets) {
      const bool wanted =
          !options->instruction_set || std::string(set.name) == options->instruction_set;
      if (!wanted || !available(set))
        continue;
      auto engine = std::make_unique<mlff_engine>(*options, data.cutoff);
      engine->network.reset(set.kernel(single).make(data.shape, data.weights()));
      if (!engine->network || !engine->network->ok())
        return refuse("not enough memory for the student");
      engine->student.shape = data.shape;
      engine->student.cutoff = data.cutoff;
      engine->student.prior = data.prior;
      engine->student.atomic_energies = data.atomic_energies;
      engine->instruction_set = set.name;
      engine->single_precision = single;
      return engine.release();
    }
    return refuse(std::string("this machine or library lacks the instruction set ") +
                  (options->instruction_set ? options->instruction_set : "?") + "; it has " +
                  mlff_instruction_sets());
  } catch (const std::exception &failure) {
    return refuse(failure.what());
  }
}

void mlff_engine_free(mlff_engine *engine) { delete engine; }
const char *mlff_engine_instruction_set(const mlff_engine *e) { return e->instruction_set.c_str(); }
const char *mlff_engine_error(const mlff_engine *e) { return e->error.c_str(); }
int64_t mlff_engine_list_builds(const mlff_engine *e) { return e->list.builds(); }
int64_t mlff_engine_pairs(const mlff_engine *e) { return e->num_pairs; }
void mlff_engine_reset(mlff_engine *e) { e->list.reset(); }

int64_t mlff_engine_bytes(const mlff_engine *e) { return e->bytes(); }

int32_t mlff_engine_compute(mlff_engine *engine, int64_t n, const int32_t *species,
                            const double *positions, const double cell[9],
                            const uint8_t periodic[3], double *energies, double *forces,
                            double *virial) {
  return guarded(engine, [&] {
    return engine->compute(n, species, positions, cell, periodic, energies, forces, virial);
  });
}

int32_t mlff_engine_edges(mlff_engine *engine, int64_t n, const int32_t *species,
                          const uint8_t *local, int64_t num_edges, const int32_t *centers,
                          const int32_t *neighbors, const double *vectors, double *energies,
                          double *gradients) {
  return guarded(engine, [&] {
    return engine->evaluate_edges(n, species, local, num_edges, centers, neighbors, vectors,
                                  energies, gradients);
  });
}

int32_t mlff_stage_begin(mlff_engine *engine, int64_t num_owned, int64_t n, const int32_t *species,
                         int64_t num_pairs, int64_t num_two_sided, const int32_t *centers,
                         const int32_t *neighbors, const double *vectors) {
  return guarded(engine, [&] {
    return engine->stage_begin(num_owned, n, species, num_pairs, num_two_sided, centers, neighbors,
                               vectors);
  });
}

void mlff_stage_send(mlff_engine *e, int32_t layer) { e->network->send(e->blocks[0], layer); }
void mlff_stage_receive(mlff_engine *e, int32_t layer) {
  e->network->receive(e->blocks[0], layer);
  e->network->update(e->blocks[0], layer);
}
void mlff_stage_read_out(mlff_engine *e) { e->stage_read_out(); }
void mlff_stage_update_reverse(mlff_engine *e, int32_t layer) {
  e->network->update_reverse(e->blocks[0], layer);
}
void mlff_stage_receive_reverse(mlff_engine *e, int32_t layer) {
  e->network->receive_reverse(e->blocks[0], layer);
  e->network->send_reverse(e->blocks[0], layer);
}

void mlff_stage_end(mlff_engine *e, double *energies, double *forces, double *virial) {
  e->stage_end(energies, forces, virial);
}

void mlff_scalars_sent(const mlff_engine *e, int32_t layer, int64_t count, const int32_t *atoms,
                       void *buffer) {
  const std::size_t bytes = e->student.shape.hidden * (e->single_precision ? 4 : 8);
  for (int64_t k = 0; k < count; k++)
    std::memcpy(static_cast<char *>(buffer) + k * bytes,
                e->network->scalars_sent(atoms[k], layer, e->species[atoms[k]]), bytes);
}

int32_t mlff_stage_bytes(const mlff_engine *e, int32_t layer, int32_t reverse) {
  return e->network->exchanged_bytes(layer, reverse != 0);
}

void mlff_stage_pack(const mlff_engine *e, int32_t layer, int32_t reverse, int64_t count,
                     const int32_t *atoms, void *buffer) {
  const int bytes = e->network->exchanged_bytes(layer, reverse != 0);
  for (int64_t k = 0; k < count; k++)
    e->network->pack(atoms[k], layer, reverse != 0, static_cast<char *>(buffer) + k * bytes);
}

void mlff_stage_unpack(mlff_engine *e, int32_t layer, int32_t reverse, int64_t count,
                       const int32_t *atoms, const void *buffer) {
  const int bytes = e->network->exchanged_bytes(layer, reverse != 0);
  for (int64_t k = 0; k < count; k++)
    e->network->unpack(atoms[k], layer, reverse != 0,
                       static_cast<const char *>(buffer) + k * bytes);
}

double mlff_spin(const char *instruction_set, int32_t single_precision, int64_t rounds) {
  static volatile double sink = 0.0;
  for (const InstructionSet &set : kInstructionSets)
    if (available(set) && std::string(set.name) == instruction_set)
      return set.kernel(single_precision != 0).spin(rounds, &sink);
  return 0.0;
}

} // extern "C"
