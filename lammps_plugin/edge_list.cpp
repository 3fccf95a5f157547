// SPDX-License-Identifier: GPL-2.0-or-later
#include "edge_list.h"

#include <algorithm>
#include <tuple>

#include "mlff_native.h"
#include "neigh_list.h"

namespace mlff_plugin {

int EdgeList::add(int i, int kind) {
  atom.push_back(i);
  species.push_back(kind);
  return node[i] = int(atom.size()) - 1;
}

void EdgeList::set_owned(const Atoms &atoms) {
  node.assign(atoms.num_all, -1);
  atom.clear();
  species.clear();
  depth_.clear();
  for (int k = 0; k < atoms.list->inum; k++) {
    const int i = atoms.list->ilist[k], kind = atoms.species[atoms.type[i]];
    if (kind >= 0)
      add(i, kind);
  }
  num_owned = int(atom.size());
}

void EdgeList::set_nodes(const Atoms &atoms, const std::vector<int> &owner) {
  set_owned(atoms);
  for (int i = atoms.num_local; i < atoms.num_all; i++)
    if (owner[i] >= 0)
      node[i] = node[owner[i]];
    else if (const int kind = atoms.species[atoms.type[i]]; kind >= 0)
      add(i, kind);
}

void EdgeList::set_wide_nodes(const Atoms &atoms, double cutoff, int depth) {
  set_owned(atoms);
  depth_.assign(num_owned, 0);
  most_depth_ = depth;
  const double limit = cutoff * cutoff;
  for (std::size_t n = 0; n < atom.size(); n++) {
    if (depth_[n] == depth)
      break; // nodes come in the order of their depth
    const int i = atom[n], *list = atoms.list->firstneigh[i];
    const double *ri = atoms.x[i];
    for (int k = 0; k < atoms.list->numneigh[i]; k++) {
      const int j = list[k] & NEIGHMASK;
      if (node[j] >= 0 || atoms.species[atoms.type[j]] < 0)
        continue;
      const double *rj = atoms.x[j];
      double squared = 0.0;
      for (int x = 0; x < 3; x++)
        squared += (rj[x] - ri[x]) * (rj[x] - ri[x]);
      if (squared >= limit)
        continue;
      add(j, atoms.species[atoms.type[j]]);
      depth_.push_back(depth_[n] + 1);
    }
  }
}

void EdgeList::set_edges(const Atoms &atoms, double cutoff) {
  const double limit = cutoff * cutoff;
  const int centers = depth_.empty() ? num_owned : int(atom.size());
  std::int64_t e = 0;
  for (int n = 0; n < centers; n++) {
    const int i = atom[n], *list = atoms.list->firstneigh[i], count = atoms.list->numneigh[i];
    reserve(e + count + 1);
    const double *ri = atoms.x[i];
    const std::int64_t first = e;
    std::int32_t *other = neighbor.data();
    double *d = vector.data() + 3 * e;
    for (int k = 0; k < count; k++) {
      const int j = list[k] & NEIGHMASK;
      const double *rj = atoms.x[j];
      d[0] = rj[0] - ri[0];
      d[1] = rj[1] - ri[1];
      d[2] = rj[2] - ri[2];
      other[e] = node[j];
      // No branch: whether a neighbor is within the cutoff cannot be predicted.
      const bool take = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < limit) & (node[j] >= 0);
      e += take;
      d += 3 * take;
    }
    if (!depth_.empty() && depth_[n] == most_depth_) {
      // What an outermost node receives counts for nothing; its edges inward are the reverse of
      // edges that do count.
      const std::int64_t last = e;
      e = first;
      for (std::int64_t k = first; k < last; k++)
        if (depth_[other[k]] < most_depth_) {
          other[e] = other[k];
          std::copy_n(&vector[3 * k], 3, &vector[3 * e]);
          e++;
        }
    }
    std::fill(center.begin() + first, center.begin() + e, n);
  }
  num_edges = e;
}

void EdgeList::set_candidates(const Atoms &atoms) {
  two_sided_.clear();
  one_sided_.clear();
  for (std::int32_t n = 0; n < num_owned; n++) {
    const int i = atom[n], *list = atoms.list->firstneigh[i];
    for (int k = 0; k < atoms.list->numneigh[i]; k++) {
      const int j = list[k] & NEIGHMASK;
      const std::int32_t other = node[j];
      if (other == n || other >= num_owned)
        one_sided_.push_back({n, other, j});
      else if (other > n) // the other direction is in the list of the other
        two_sided_.push_back({n, other, j});
    }
  }
  sort(two_sided_);
  sort(one_sided_);
  reserve(std::int64_t(two_sided_.size() + one_sided_.size()) + 1);
}

void EdgeList::sort(std::vector<Candidate> &candidates) {
  std::sort(candidates.begin(), candidates.end(), [](const Candidate &a, const Candidate &b) {
    return std::make_tuple(a.center / MLFF_NATIVE_TILE, a.neighbor, a.center, a.atom) <
           std::make_tuple(b.center / MLFF_NATIVE_TILE, b.neighbor, b.center, b.atom);
  });
}

void EdgeList::set_pairs(const Atoms &atoms, double cutoff) {
  num_two_sided = take(atoms, two_sided_, cutoff * cutoff, 0);
  num_edges = take(atoms, one_sided_, cutoff * cutoff, num_two_sided);
}

// Puts the candidates within the cutoff behind the edges that are there; returns how many there are
// then.
std::int64_t EdgeList::take(const Atoms &atoms, const std::vector<Candidate> &candidates,
                            double limit, std::int64_t from) {
  std::int64_t e = from;
  for (const Candidate &c : candidates) {
    const double *ri = atoms.x[atom[c.center]], *rj = atoms.x[c.atom];
    double *d = &vector[3 * e], squared = 0.0;
    for (int x = 0; x < 3; x++) {
      d[x] = rj[x] - ri[x];
      squared += d[x] * d[x];
    }
    center[e] = c.center;
    neighbor[e] = c.neighbor;
    e += squared < limit; // no branch: it could not be predicted
  }
  return e;
}

void EdgeList::reserve(std::int64_t edges) {
  if (edges <= std::int64_t(neighbor.size()))
    return;
  const std::size_t size = std::size_t(edges) + std::size_t(edges) / 2 + 1024;
  center.resize(size);
  neighbor.resize(size);
  vector.resize(3 * size);
}

double EdgeList::bytes() const {
  const auto size = [](const auto &v) { return double(v.capacity() * sizeof(v[0])); };
  return size(species) + size(atom) + size(node) + size(center) + size(neighbor) + size(vector) +
         size(depth_) + size(two_sided_) + size(one_sided_);
}

} // namespace mlff_plugin
