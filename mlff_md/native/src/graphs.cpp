// Evaluation of graphs that others have built: directed edges, and the pairs of a domain.
#include <algorithm>

#include "engine.h"

using namespace mlff;

std::int32_t mlff_engine::take_graph(std::int64_t count, const std::int32_t *kinds,
                                     std::int64_t most_pairs) {
  if (count < 0 || count > INT32_MAX / 4 || most_pairs < 0)
    return fail(MLFF_BAD_ARGUMENT, "the number of atoms or edges is out of range");
  if (const std::int32_t status = check_species(count, kinds))
    return status;
  list.reset();
  if (!prepare(count, most_pairs))
    return fail(MLFF_NO_MEMORY, "not enough memory");
  species.assign(kinds, kinds + count);
  local.clear();
  return MLFF_OK;
}

// Pairs from directed edges that are sorted by center. Of the two directions of a pair inside a
// block one is kept; all others act on their center alone.
void mlff_engine::sort_edges(std::int64_t num_edges, const std::int32_t *centers,
                             const std::int32_t *neighbors) {
  std::int64_t e = 0, p = 0;
  edge.resize(num_edges);
  for (const Block &b : blocks) {
    const std::int64_t first = e;
    const auto two_sided = [&](std::int64_t k) {
      return neighbors[k] != centers[k] && neighbors[k] >= b.first && neighbors[k] < b.last;
    };
    while (e < num_edges && centers[e] < b.last)
      e++;
    PairRange &range = ranges[b.thread];
    range.first = p;
    for (std::int64_t k = first; k < e; k++)
      if (neighbors[k] > centers[k] && two_sided(k))
        edge[p++] = k;
    range.one_sided = p;
    for (std::int64_t k = first; k < e; k++)
      if (!two_sided(k))
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

std::int32_t mlff_engine::evaluate_edges(std::int64_t count, const std::int32_t *kinds,
                                         const std::uint8_t *mask, std::int64_t num_edges,
                                         const std::int32_t *centers, const std::int32_t *neighbors,
                                         const double *given, double *energies_out,
                                         double *gradients) {
  for (std::int64_t e = 0; e < num_edges; e++)
    if (centers[e] < (e ? centers[e - 1] : 0) || centers[e] >= count || neighbors[e] < 0 ||
        neighbors[e] >= count)
      return fail(MLFF_BAD_ARGUMENT, "edges must be sorted by center and join existing atoms");
  if (const std::int32_t status = take_graph(count, kinds, num_edges))
    return status;
  if (mask)
    local.assign(mask, mask + count);
  const int size = team.size();
  for (int t = 0; t < size; t++)
    blocks[t] = {count * t / size, count * (t + 1) / size, t, species.data(),
                 mask ? local.data() : nullptr};
  sort_edges(num_edges, centers, neighbors);
  std::fill_n(gradients, 3 * num_edges, 0.0);
  team.run([&](int rank) {
    const Block &b = blocks[rank];
    const PairRange &range = ranges[rank];
    clear(b);
    for (std::int64_t p = range.first; p < range.last; p++)
      std::copy_n(given + 3 * edge[p], 3, vectors[p].v);
    set_geometry(b);
    team.wait();
    if (!sound())
      return;
    forward_and_back(b);
    finish_energies(b);
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

std::int32_t mlff_engine::stage_begin(std::int64_t owned, std::int64_t count,
                                      const std::int32_t *kinds, std::int64_t pairs,
                                      std::int64_t two_sided, const std::int32_t *centers,
                                      const std::int32_t *neighbors, const double *given) {
  if (owned < 0 || owned > count)
    return fail(MLFF_BAD_ARGUMENT, "the number of owned atoms is out of range");
  if (two_sided < 0 || two_sided > pairs)
    return fail(MLFF_BAD_ARGUMENT, "the number of two-sided pairs is out of range");
  for (std::int64_t p = 0; p < pairs; p++) {
    const std::int64_t i = centers[p], j = neighbors[p];
    if (i < 0 || i >= owned || j < 0 || j >= (p < two_sided ? owned : count))
      return fail(MLFF_BAD_ARGUMENT, "pairs must start at owned atoms and join existing ones");
    if (p < two_sided && i == j)
      return fail(MLFF_BAD_ARGUMENT, "two-sided pairs must join two different atoms");
  }
  if (const std::int32_t status = take_graph(count, kinds, pairs))
    return status;
  num_owned = owned;
  num_pairs = pairs;
  for (int t = 0; t < team.size(); t++) { // one thread does it all
    blocks[t] = {t ? owned : 0, owned, t, species.data(), nullptr};
    ranges[t] = {t ? pairs : 0, t ? pairs : two_sided, pairs};
    clear(blocks[t]);
  }
  std::copy_n(centers, pairs, center.data());
  std::copy_n(neighbors, pairs, neighbor.data());
  std::copy_n(given, 3 * pairs, &vectors.data()->v[0]);
  network->set_pairs({ranges.data(), center.data(), neighbor.data()});
  set_geometry(blocks[0]);
  if (!sound())
    return fail(MLFF_OVERLAP, "two atoms are at the same place");
  network->begin(blocks[0]);
  return MLFF_OK;
}

void mlff_engine::stage_end(double *energies_out, double *forces_out, double *virial_out) {
  finish_energies(blocks[0]);
  collect_forces(blocks[0]);
  std::copy_n(energies.begin(), num_owned, energies_out);
  std::copy_n(forces.begin(), 3 * num_owned, forces_out);
  sum_virial(virial_out);
}
