#include "engine.h"

#include <algorithm>
#include <cmath>

mlff::Network::~Network() {}

using namespace mlff;

namespace {

// Coordinates beyond this, Å, have lost the digits that distances are made of.
constexpr double kFarthest = 1e9;

} // namespace

mlff_engine::mlff_engine(const mlff_options &options, double cutoff)
    : team(options.threads), list(cutoff, options.skin_A, MLFF_NATIVE_TILE),
      blocks(options.threads), shortest(options.shortest_A), ranges(options.threads),
      virials(options.threads), statuses(options.threads) {}

std::int32_t mlff_engine::fail(std::int32_t status, const std::string &why) {
  error = why;
  return status;
}

std::int64_t mlff_engine::bytes() const {
  const auto size = [](const auto &v) { return std::int64_t(v.capacity() * sizeof(v[0])); };
  const PairList &pairs = list.pairs();
  return network->bytes() + size(positions) + size(forces) + size(energies) + size(output) +
         size(center) + size(neighbor) + size(vectors) + size(derivatives) + size(edge) +
         size(pairs.center) + size(pairs.neighbor) + size(pairs.image);
}

bool mlff_engine::prepare(std::int64_t atoms, std::int64_t most_pairs) {
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

void mlff_engine::clear(const Block &b) {
  std::fill(energies.begin() + b.first, energies.begin() + b.last, 0.0);
  std::fill(forces.begin() + 3 * b.first, forces.begin() + 3 * b.last, 0.0);
  std::fill_n(virials[b.thread].v, 9, 0.0);
  statuses[b.thread] = MLFF_OK;
}

// Pairs of a block inside the cutoff, from the neighbor list. Pairs of a block start where they
// start in the list, so that threads need not know of each other.
void mlff_engine::select(const Block &b) {
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
void mlff_engine::set_geometry(const Block &b) {
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

bool mlff_engine::sound() const {
  return std::all_of(statuses.begin(), statuses.end(), [](int s) { return s == MLFF_OK; });
}

void mlff_engine::forward_and_back(const Block &b) {
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

void mlff_engine::finish_energies(const Block &b) {
  for (std::int64_t i = b.first; i < b.last; i++)
    energies[i] = counts(i) ? energies[i] + output[i] + student.atomic_energies[species[i]] : 0.0;
}

void mlff_engine::collect_forces(const Block &b) {
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

void mlff_engine::sum_virial(double *out) const {
  double total[9] = {};
  for (const Virial &part : virials)
    for (int k = 0; k < 9; k++)
      total[k] += part.v[k];
  for (int x = 0; x < 3; x++)
    for (int y = 0; y < 3; y++)
      out[3 * x + y] = 0.5 * (total[3 * x + y] + total[3 * y + x]);
}

std::int32_t mlff_engine::check_species(std::int64_t count, const std::int32_t *given) {
  for (std::int64_t i = 0; i < count; i++)
    if (given[i] < 0 || given[i] >= student.shape.species)
      return fail(MLFF_BAD_ARGUMENT, "a species index is out of range");
  return MLFF_OK;
}

std::int32_t mlff_engine::compute(std::int64_t count, const std::int32_t *kinds, const double *r,
                                  const double *cell, const std::uint8_t *periodic,
                                  double *energies_out, double *forces_out, double *virial_out) {
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
