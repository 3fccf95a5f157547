#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <new>
#include <string>

#include "mlff_native.h"
#include "neighbors.h"
#include "student.h"
#include "team.h"

mlff::Network::~Network() {}

using namespace mlff;

namespace {

// Coordinates beyond this, Å, have lost the digits that distances are made of.
constexpr double kFarthest = 1e9;

// Centers whose pairs are worked through together: as many as fit the L1 cache. More, or a number
// that depends on the student, gained nothing.
constexpr int kTile = 4;

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

} // namespace

struct mlff_engine {
  mlff_engine(const mlff_options &options, double cutoff, int tile)
      : team(options.threads), list(cutoff, options.skin_A, tile), shortest(options.shortest_A),
        blocks(options.threads), ranges(options.threads), virials(options.threads),
        statuses(options.threads) {}

  StudentData student;
  Team team;
  NeighborList list;
  std::unique_ptr<Network> network;
  std::string instruction_set, error;

  // The structure of the present call, by slot.
  double shortest; // Å
  std::int64_t n = 0;
  std::vector<double> positions, forces, energies, output;
  std::vector<std::int32_t> species;
  std::vector<std::uint8_t> local;
  std::vector<std::int32_t> center, neighbor; // of the pairs inside the cutoff
  std::vector<std::int64_t> edge;             // of each pair, where edges were given
  std::vector<Block> blocks;
  std::vector<PairRange> ranges; // of the blocks
  struct alignas(64) Virial {
    double v[9];
  };
  std::vector<Virial> virials;
  std::vector<std::int32_t> statuses;
  struct Vector {
    double v[3];
  };
  std::vector<Vector> vectors, derivatives; // of the pairs, and of the energy by them
  std::int64_t num_pairs = 0;
  std::int64_t num_owned = 0;

  static double (*raw(std::vector<Vector> &of))[3] { return &of.data()->v; }

  std::int32_t fail(std::int32_t status, const std::string &why) {
    error = why;
    return status;
  }

  bool prepare(std::int64_t atoms, std::int64_t most_pairs) {
    n = atoms;
    forces.resize(3 * n);
    energies.resize(n);
    output.resize(n);
    most_pairs += team.size(); // the slot behind the last pair of each thread
    center.resize(most_pairs);
    neighbor.resize(most_pairs);
    vectors.resize(most_pairs);
    derivatives.resize(most_pairs);
    return network->reserve(n, most_pairs, team.size());
  }

  double share(std::int64_t i, std::int64_t j) const {
    return local.empty() ? 1.0 : 0.5 * (local[i] + local[j]);
  }
  bool counts(std::int64_t i) const { return local.empty() || local[i]; }

  // Pairs of a block inside the cutoff, from the neighbor list. Pairs of a block start where they
  // start in the list, so that threads need not know of each other.
  void select(const Block &b) {
    const PairList &listed = list.pairs();
    const double *shifts = list.shifts().data();
    const double limit = student.cutoff * student.cutoff;
    const PairRange &from = listed.range[b.thread];
    std::int64_t p = from.first + b.thread; // behind the slot of the block before
    const auto take = [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t q = first; q < last; q++) {
        const std::int32_t i = listed.center[q], j = listed.neighbor[q];
        const double *ri = &positions[3 * std::size_t(i)], *rj = &positions[3 * std::size_t(j)];
        const double *s = shifts + 3 * listed.image[q];
        double *d = vectors[p].v, squared = 0.0;
        for (int x = 0; x < 3; x++) {
          d[x] = rj[x] - ri[x] + s[x];
          squared += d[x] * d[x];
        }
        center[p] = i;
        neighbor[p] = j;
        p += squared < limit; // no branch: four in ten would be mispredicted
      }
      return p;
    };
    PairRange &range = ranges[b.thread];
    range.first = p;
    range.one_sided = take(from.first, from.one_sided);
    range.last = take(from.one_sided, from.last);
    set_geometry(b);
  }

  // Hands the pairs of a block to the network; those within the prior's reach get its energy.
  void set_geometry(const Block &b) {
    const PairRange &range = ranges[b.thread];
    const int kinds = student.shape.species;
    network->set_geometry(range.first, range.last, raw(vectors));
    for (std::int64_t p = range.first; p < range.last; p++) {
      const double *d = vectors[p].v, squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
      const std::int32_t i = center[p], j = neighbor[p];
      const PriorPair &prior = student.prior[species[i] * kinds + species[j]];
      if (squared >= prior.end * prior.end)
        continue;
      if (!(squared >= shortest * shortest)) {
        statuses[b.thread] = MLFF_OVERLAP;
        continue;
      }
      double half, derivative, seen, slope;
      const double r = std::sqrt(squared);
      prior.repulsion(r, &half, &derivative);
      prior.seen(r, &seen, &slope);
      network->set_short_pair(p, d, r, seen, slope, share(i, j) * derivative);
      energies[i] += half;
      if (p < range.one_sided)
        energies[j] += half;
    }
  }

  bool sound() const {
    return std::all_of(statuses.begin(), statuses.end(), [](int s) { return s == MLFF_OK; });
  }

  void forward_and_back(const Block &b) {
    const int layers = student.shape.layers;
    network->begin(b);
    for (int l = 0; l < layers; l++) {
      network->send(b, l);
      team.wait();
      network->receive(b, l);
      network->update(b, l);
    }
    network->read_out(b, output.data());
    for (int l = layers - 1; l >= 0; l--) {
      network->update_reverse(b, l);
      team.wait();
      network->receive_reverse(b, l);
      network->send_reverse(b, l);
    }
  }

  void finish_energies(const Block &b) {
    for (std::int64_t i = b.first; i < b.last; i++)
      energies[i] = counts(i) ? energies[i] + output[i] + student.atomic_energies[species[i]] : 0.0;
  }

  void clear(const Block &b) {
    std::fill(energies.begin() + b.first, energies.begin() + b.last, 0.0);
    std::fill(forces.begin() + 3 * b.first, forces.begin() + 3 * b.last, 0.0);
    std::fill_n(virials[b.thread].v, 9, 0.0);
    statuses[b.thread] = MLFF_OK;
  }

  void collect_forces(const Block &b) {
    const PairRange &range = ranges[b.thread];
    double total[9] = {};
    network->gradients(range.first, range.last, raw(derivatives));
    for (std::int64_t p = range.first; p < range.last; p++) {
      const bool both = p < range.one_sided;
      const double *d = vectors[p].v, *g = derivatives[p].v, weight = both ? 1.0 : 0.5;
      double *mine = &forces[3 * std::size_t(center[p])];
      double *other = &forces[3 * std::size_t(neighbor[p])];
      for (int x = 0; x < 3; x++) {
        mine[x] += g[x];
        if (both)
          other[x] -= g[x];
        for (int y = 0; y < 3; y++)
          total[3 * x + y] += weight * d[x] * g[y];
      }
    }
    std::copy_n(total, 9, virials[b.thread].v);
  }

  void sum_virial(double *out) const {
    double total[9] = {};
    for (const Virial &part : virials)
      for (int k = 0; k < 9; k++)
        total[k] += part.v[k];
    for (int x = 0; x < 3; x++)
      for (int y = 0; y < 3; y++)
        out[3 * x + y] = 0.5 * (total[3 * x + y] + total[3 * y + x]);
  }

  std::int32_t check_species(std::int64_t count, const std::int32_t *given) {
    for (std::int64_t i = 0; i < count; i++)
      if (given[i] < 0 || given[i] >= student.shape.species)
        return fail(MLFF_BAD_ARGUMENT, "a species index is out of range");
    return MLFF_OK;
  }

  std::int32_t compute(std::int64_t count, const std::int32_t *kinds, const double *r,
                       const double *cell, const std::uint8_t *periodic, double *energies_out,
                       double *forces_out, double *virial_out) {
    if (count < 1 || count > INT32_MAX / 4)
      return fail(MLFF_BAD_ARGUMENT, "the number of atoms is out of range");
    if (const std::int32_t status = check_species(count, kinds))
      return status;
    const bool closed[3] = {periodic[0] != 0, periodic[1] != 0, periodic[2] != 0};
    double sum = 0.0;
    for (std::int64_t k = 0; k < 3 * count; k++)
      sum += r[k] * 0.0;
    for (int k = 0; k < 9; k++)
      sum += closed[k / 3] ? cell[k] * 0.0 : 0.0;
    if (!(sum == 0.0))
      return fail(MLFF_NOT_FINITE, "a position or a cell vector is not finite");
    for (std::int64_t k = 0; k < 3 * count; k++)
      if (std::fabs(r[k]) > kFarthest)
        return fail(MLFF_NOT_FINITE, "an atom is too far away from the origin");

    list.update(r, count, cell, closed, team.size());
    const std::vector<std::int32_t> &order = list.order();
    if (!prepare(count, std::int64_t(list.pairs().center.size())))
      return fail(MLFF_NO_MEMORY, "not enough memory");
    local.clear();
    positions.resize(3 * count);
    species.resize(count);
    for (std::int64_t s = 0; s < count; s++) {
      species[s] = kinds[order[s]];
      std::copy_n(r + 3 * std::size_t(order[s]), 3, &positions[3 * s]);
    }
    network->set_pairs({ranges.data(), center.data(), neighbor.data()});
    for (int t = 0; t < team.size(); t++)
      blocks[t] = {list.block()[t], list.block()[t + 1], t, species.data(), nullptr};
    team.run([&](int rank) {
      const Block &b = blocks[rank];
      clear(b);
      select(b);
      team.wait();
      if (!sound())
        return;
      forward_and_back(b);
      finish_energies(b);
      collect_forces(b);
    });
    if (!sound())
      return fail(MLFF_OVERLAP, "two atoms are at the same place");
    for (std::int64_t s = 0; s < count; s++) {
      energies_out[order[s]] = energies[s];
      std::copy_n(&forces[3 * s], 3, forces_out + 3 * std::size_t(order[s]));
    }
    sum_virial(virial_out);
    num_pairs = 0;
    for (const PairRange &range : ranges)
      num_pairs += range.last - range.first;
    return MLFF_OK;
  }

  // Pairs from directed edges that are sorted by center. Of the two directions of a pair inside a
  // block one is kept; all others act on their center alone.
  std::int32_t take_edges(std::int64_t count, const std::int32_t *kinds, const std::uint8_t *mask,
                          std::int64_t num_edges, const std::int32_t *centers,
                          const std::int32_t *neighbors) {
    if (count < 0 || count > INT32_MAX / 4 || num_edges < 0)
      return fail(MLFF_BAD_ARGUMENT, "the number of atoms or edges is out of range");
    if (const std::int32_t status = check_species(count, kinds))
      return status;
    for (std::int64_t e = 0; e < num_edges; e++)
      if (centers[e] < (e ? centers[e - 1] : 0) || centers[e] >= count || neighbors[e] < 0 ||
          neighbors[e] >= count)
        return fail(MLFF_BAD_ARGUMENT, "edges must be sorted by center and join existing atoms");
    list.reset();
    if (!prepare(count, num_edges))
      return fail(MLFF_NO_MEMORY, "not enough memory");
    species.assign(kinds, kinds + count);
    local.clear();
    if (mask)
      local.assign(mask, mask + count);
    edge.resize(num_edges);
    return MLFF_OK;
  }

  // `paired` says whether an edge (i, j) with j > i may act on both atoms.
  template <class Paired>
  void sort_edges(std::int64_t num_edges, const std::int32_t *centers,
                  const std::int32_t *neighbors, Paired paired) {
    std::int64_t e = 0, p = 0;
    for (int t = 0; t < team.size(); t++) {
      const std::int64_t first = e;
      while (e < num_edges && centers[e] < blocks[t].last)
        e++;
      PairRange &range = ranges[t];
      range.first = p;
      for (std::int64_t k = first; k < e; k++)
        if (neighbors[k] > centers[k] && paired(centers[k], neighbors[k]))
          edge[p++] = k;
      range.one_sided = p;
      for (std::int64_t k = first; k < e; k++)
        if (neighbors[k] == centers[k] || !paired(centers[k], neighbors[k]))
          edge[p++] = k;
      range.last = p;
    }
    for (std::int64_t k = 0; k < p; k++) {
      center[k] = centers[edge[k]];
      neighbor[k] = neighbors[edge[k]];
    }
    num_pairs = p;
    network->set_pairs({ranges.data(), center.data(), neighbor.data()});
  }

  void set_edges(const Block &b, const double *given) {
    for (std::int64_t p = ranges[b.thread].first; p < ranges[b.thread].last; p++)
      std::copy_n(given + 3 * edge[p], 3, vectors[p].v);
    set_geometry(b);
  }

  std::int32_t evaluate_edges(std::int64_t count, const std::int32_t *kinds,
                              const std::uint8_t *mask, std::int64_t num_edges,
                              const std::int32_t *centers, const std::int32_t *neighbors,
                              const double *vectors, double *energies_out, double *gradients) {
    if (const std::int32_t status = take_edges(count, kinds, mask, num_edges, centers, neighbors))
      return status;
    const int size = team.size();
    std::vector<std::int32_t> of(count);
    for (int t = 0; t < size; t++) {
      blocks[t] = {count * t / size, count * (t + 1) / size, t, species.data(),
                   mask ? local.data() : nullptr};
      std::fill(of.begin() + blocks[t].first, of.begin() + blocks[t].last, t);
    }
    sort_edges(num_edges, centers, neighbors,
               [&](std::int64_t i, std::int64_t j) { return of[i] == of[j]; });
    std::fill_n(gradients, 3 * num_edges, 0.0);
    team.run([&](int rank) {
      const Block &b = blocks[rank];
      clear(b);
      set_edges(b, vectors);
      team.wait();
      if (!sound())
        return;
      forward_and_back(b);
      finish_energies(b);
      const PairRange &range = ranges[rank];
      network->gradients(range.first, range.last, raw(derivatives));
      for (std::int64_t p = range.first; p < range.last; p++)
        for (int x = 0; x < 3; x++) // of a one-sided pair half stands at the edge back
          gradients[3 * edge[p] + x] = (p < range.one_sided ? 1.0 : 0.5) * derivatives[p].v[x];
    });
    if (!sound())
      return fail(MLFF_OVERLAP, "two atoms are at the same place");
    std::copy_n(energies.begin(), count, energies_out);
    return MLFF_OK;
  }

  std::int32_t stage_begin(std::int64_t owned, std::int64_t count, const std::int32_t *kinds,
                           std::int64_t num_edges, const std::int32_t *centers,
                           const std::int32_t *neighbors, const double *vectors) {
    if (owned < 0 || owned > count)
      return fail(MLFF_BAD_ARGUMENT, "the number of owned atoms is out of range");
    if (num_edges > 0 && centers[num_edges - 1] >= owned)
      return fail(MLFF_BAD_ARGUMENT, "edges must start at owned atoms");
    if (const std::int32_t status =
            take_edges(count, kinds, nullptr, num_edges, centers, neighbors))
      return status;
    num_owned = owned;
    for (int t = 0; t < team.size(); t++) { // one thread does it all
      blocks[t] = {t ? owned : 0, owned, t, species.data(), nullptr};
      clear(blocks[t]);
    }
    sort_edges(num_edges, centers, neighbors,
               [&](std::int64_t, std::int64_t j) { return j < owned; });
    set_edges(blocks[0], vectors);
    if (!sound())
      return fail(MLFF_OVERLAP, "two atoms are at the same place");
    network->begin(blocks[0]);
    return MLFF_OK;
  }
};

// Any failure to allocate inside becomes a status: nothing throws through the C interface.
template <class Work> static std::int32_t guarded(mlff_engine *engine, Work work) {
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
      auto engine = std::make_unique<mlff_engine>(*options, data.cutoff, kTile);
      engine->network.reset(set.kernel(single).make(data.shape, data.weights()));
      if (!engine->network || !engine->network->ok())
        return refuse("not enough memory for the student");
      engine->student.shape = data.shape;
      engine->student.cutoff = data.cutoff;
      engine->student.prior = data.prior;
      engine->student.atomic_energies = data.atomic_energies;
      engine->instruction_set = set.name;
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

int64_t mlff_engine_bytes(const mlff_engine *e) {
  const auto size = [](const auto &v) { return std::int64_t(v.capacity() * sizeof(v[0])); };
  const PairList &pairs = e->list.pairs();
  return e->network->bytes() + size(e->positions) + size(e->forces) + size(e->energies) +
         size(e->output) + size(e->center) + size(e->neighbor) + size(e->vectors) +
         size(e->derivatives) + size(e->edge) + size(pairs.center) + size(pairs.neighbor) +
         size(pairs.image);
}

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
                         int64_t num_edges, const int32_t *centers, const int32_t *neighbors,
                         const double *vectors) {
  return guarded(engine, [&] {
    return engine->stage_begin(num_owned, n, species, num_edges, centers, neighbors, vectors);
  });
}

void mlff_stage_send(mlff_engine *e, int32_t layer) { e->network->send(e->blocks[0], layer); }
void mlff_stage_receive(mlff_engine *e, int32_t layer) {
  e->network->receive(e->blocks[0], layer);
  e->network->update(e->blocks[0], layer);
}
void mlff_stage_read_out(mlff_engine *e) { e->network->read_out(e->blocks[0], e->output.data()); }
void mlff_stage_update_reverse(mlff_engine *e, int32_t layer) {
  e->network->update_reverse(e->blocks[0], layer);
}
void mlff_stage_receive_reverse(mlff_engine *e, int32_t layer) {
  e->network->receive_reverse(e->blocks[0], layer);
  e->network->send_reverse(e->blocks[0], layer);
}

void mlff_stage_end(mlff_engine *e, double *energies, double *forces, double *virial) {
  e->finish_energies(e->blocks[0]);
  e->collect_forces(e->blocks[0]);
  std::copy_n(e->energies.begin(), e->num_owned, energies);
  std::copy_n(e->forces.begin(), 3 * e->num_owned, forces);
  e->sum_virial(virial);
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
