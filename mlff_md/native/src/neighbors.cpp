#include "neighbors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>

namespace mlff {
namespace {

struct Vec3 {
  double x, y, z;
};

Vec3 row(const double m[9], int k) { return {m[3 * k], m[3 * k + 1], m[3 * k + 2]}; }
double dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec3 cross(Vec3 a, Vec3 b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
Vec3 scaled(Vec3 a, double f) { return {f * a.x, f * a.y, f * a.z}; }
double norm(Vec3 a) { return std::sqrt(dot(a, a)); }

void set_row(double m[9], int k, Vec3 v) {
  m[3 * k] = v.x;
  m[3 * k + 1] = v.y;
  m[3 * k + 2] = v.z;
}

// Fills the rows of open directions with unit vectors perpendicular to all other rows.
void complete_cell(double cell[9], const bool periodic[3]) {
  int open[3], closed[3], opens = 0, closes = 0;
  for (int k = 0; k < 3; k++)
    (periodic[k] ? closed[closes++] : open[opens++]) = k;
  if (opens == 0)
    return;
  if (opens == 3) {
    for (int k = 0; k < 9; k++)
      cell[k] = k % 4 == 0;
    return;
  }
  if (opens == 2) {
    const Vec3 a = row(cell, closed[0]);
    const double x = std::fabs(a.x), y = std::fabs(a.y), z = std::fabs(a.z);
    const Vec3 axis = {double(x <= y && x <= z), double(y < x && y <= z), double(z < x && z < y)};
    const Vec3 b = cross(a, axis);
    set_row(cell, open[0], scaled(b, 1.0 / norm(b)));
    const Vec3 c = cross(a, b);
    set_row(cell, open[1], scaled(c, 1.0 / norm(c)));
    return;
  }
  const Vec3 c = cross(row(cell, closed[0]), row(cell, closed[1]));
  set_row(cell, open[0], scaled(c, 1.0 / norm(c)));
}

// Inverse of a 3 x 3 matrix.
void invert(const double m[9], double out[9]) {
  const Vec3 a = row(m, 0), b = row(m, 1), c = row(m, 2);
  const Vec3 columns[3] = {cross(b, c), cross(c, a), cross(a, b)};
  const double volume = dot(a, columns[0]);
  for (int k = 0; k < 3; k++) {
    out[k] = columns[k].x / volume;
    out[3 + k] = columns[k].y / volume;
    out[6 + k] = columns[k].z / volume;
  }
}

void multiply(const double a[9], const double b[9], double out[9]) {
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++)
      out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
}

// Smallest singular value, by the trigonometric eigenvalues of m m^T.
double smallest_stretch(const double m[9]) {
  double s[9];
  const double t[9] = {m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]};
  multiply(m, t, s);
  const double q = (s[0] + s[4] + s[8]) / 3.0;
  const double off = s[1] * s[1] + s[2] * s[2] + s[5] * s[5];
  const double d0 = s[0] - q, d1 = s[4] - q, d2 = s[8] - q;
  const double p = std::sqrt((d0 * d0 + d1 * d1 + d2 * d2 + 2.0 * off) / 6.0);
  if (p < 1e-14 * q)
    return std::sqrt(q);
  const double b[9] = {d0 / p,   s[1] / p, s[2] / p, s[1] / p, d1 / p,
                       s[5] / p, s[2] / p, s[5] / p, d2 / p};
  const double half = 0.5 * dot(row(b, 0), cross(row(b, 1), row(b, 2)));
  const double angle = std::acos(std::max(-1.0, std::min(1.0, half))) / 3.0;
  const double least = q + 2.0 * p * std::cos(angle + 2.0943951023931953);
  // Rounding may only make the list look less complete than it is.
  return std::sqrt(std::max(0.0, least - 1e-12 * q));
}

std::uint64_t morton(std::uint32_t x, std::uint32_t y, std::uint32_t z) {
  const auto spread = [](std::uint64_t v) {
    v &= 0x1fffff;
    v = (v | v << 32) & 0x1f00000000ffff;
    v = (v | v << 16) & 0x1f0000ff0000ff;
    v = (v | v << 8) & 0x100f00f00f00f00f;
    v = (v | v << 4) & 0x10c30c30c30c30c3;
    return (v | v << 2) & 0x1249249249249249;
  };
  return spread(x) | spread(y) << 1 | spread(z) << 2;
}

typedef std::array<std::int32_t, 3> Shift;

struct Entry {
  std::int32_t center, neighbor;
  Shift shift;
  bool operator<(const Entry &o) const {
    return std::tie(neighbor, center, shift) < std::tie(o.neighbor, o.center, o.shift);
  }
};

// Numbers the images in the order in which they appear; the first is no shift at all.
class ImageIndex {
public:
  explicit ImageIndex(std::vector<std::int32_t> &images) : images_(images) {
    images_.clear();
    (*this)({0, 0, 0});
  }
  std::int32_t operator()(const Shift &shift) {
    if (images_.empty() || shift != last_) {
      const auto found = index_.emplace(shift, std::int32_t(images_.size() / 3));
      if (found.second)
        images_.insert(images_.end(), shift.begin(), shift.end());
      last_ = shift;
      last_index_ = found.first->second;
    }
    return last_index_;
  }

private:
  std::vector<std::int32_t> &images_;
  std::map<Shift, std::int32_t> index_;
  Shift last_ = {};
  std::int32_t last_index_ = 0;
};

} // namespace

void NeighborList::update(const double *positions, std::int64_t n, const double cell[9],
                          const bool periodic[3], int blocks) {
  const bool known = std::int64_t(reference_.size()) == 3 * n && n > 0 && blocks == blocks_ &&
                     std::equal(periodic, periodic + 3, periodic_);
  double full[9];
  std::memcpy(full, cell, sizeof full);
  complete_cell(full, periodic);
  if (known && complete(positions, n, full))
    return;
  blocks_ = blocks;
  std::copy(periodic, periodic + 3, periodic_);
  build(positions, n, full);
}

// A pair that the list lacks was at least cutoff + skin apart when it was built. If the cell has
// been strained by F since, it is now at least s (cutoff + skin) - |u_i| - |u_j| apart, with s the
// smallest singular value of F and u what an atom moved beyond following the cell.
bool NeighborList::complete(const double *positions, std::int64_t n, const double cell[9]) {
  if (std::memcmp(cell, last_cell_, sizeof last_cell_) != 0) {
    double inverse[9];
    invert(cell_, inverse);
    multiply(inverse, cell, strain_);
    smallest_stretch_ = smallest_stretch(strain_);
    strained_ = std::memcmp(cell, cell_, sizeof cell_) != 0;
    std::memcpy(last_cell_, cell, sizeof last_cell_);
    set_shifts(cell);
  }
  const double stretch = strained_ ? smallest_stretch_ : 1.0;
  const double slack = stretch * (cutoff_ + skin_) - cutoff_ * (1.0 + 1e-12);
  if (!(skin_ > 0.0) || !(slack > 0.0))
    return false;
  double none[3] = {}, mean[3];
  if (two_largest(positions, n, none, mean) <= slack)
    return true;
  // A translation of all atoms changes no pair.
  return two_largest(positions, n, mean, none) <= slack;
}

// Sum of the two largest displacements since the build, after taking `drift` out of all; `mean`
// becomes the mean displacement.
double NeighborList::two_largest(const double *positions, std::int64_t n, const double drift[3],
                                 double mean[3]) const {
  double first = 0.0, second = 0.0, sum[3] = {};
  for (std::int64_t i = 0; i < n; i++) {
    const double *r = positions + 3 * i, *o = reference_.data() + 3 * i;
    double u[3];
    for (int k = 0; k < 3; k++) {
      const double there =
          strained_ ? o[0] * strain_[k] + o[1] * strain_[3 + k] + o[2] * strain_[6 + k] : o[k];
      u[k] = r[k] - there - drift[k];
      sum[k] += u[k];
    }
    const double squared = u[0] * u[0] + u[1] * u[1] + u[2] * u[2];
    if (squared > second) {
      second = squared > first ? first : squared;
      first = squared > first ? squared : first;
    }
  }
  for (int k = 0; k < 3; k++)
    mean[k] = sum[k] / double(n);
  return std::sqrt(first) + std::sqrt(second);
}

void NeighborList::set_shifts(const double cell[9]) {
  shift_vectors_.resize(images_.size());
  for (std::size_t k = 0; k < images_.size(); k += 3)
    for (int axis = 0; axis < 3; axis++)
      shift_vectors_[k + axis] = images_[k] * cell[axis] + images_[k + 1] * cell[3 + axis] +
                                 images_[k + 2] * cell[6 + axis];
}

void NeighborList::build(const double *positions, std::int64_t n, const double cell[9]) {
  const double radius = cutoff_ + skin_ + 1e-9;
  double inverse[9];
  invert(cell, inverse);

  // Fractional coordinates; in periodic directions wrapped, in open ones counted from the lowest.
  std::vector<double> fraction(3 * n);
  std::vector<std::int32_t> wrap(3 * n, 0);
  double low[3] = {1e300, 1e300, 1e300}, high[3] = {-1e300, -1e300, -1e300};
  for (std::int64_t i = 0; i < n; i++)
    for (int k = 0; k < 3; k++) {
      const double *r = positions + 3 * i;
      double s = r[0] * inverse[k] + r[1] * inverse[3 + k] + r[2] * inverse[6 + k];
      if (periodic_[k]) {
        const double whole = std::floor(s);
        wrap[3 * i + k] = std::int32_t(whole);
        s -= whole;
      }
      fraction[3 * i + k] = s;
      low[k] = std::min(low[k], s);
      high[k] = std::max(high[k], s);
    }

  // Bins at least a radius wide, as many as there are atoms to fill them.
  int bins[3], reach[3];
  double origin[3], per_bin[3];
  const int most = std::max(1, int(std::cbrt(double(n)) * 2.0));
  for (int k = 0; k < 3; k++) {
    const double spacing =
        1.0 / std::sqrt(inverse[k] * inverse[k] + inverse[3 + k] * inverse[3 + k] +
                        inverse[6 + k] * inverse[6 + k]);
    const double extent = periodic_[k] ? 1.0 : std::max(high[k] - low[k], 1e-9);
    origin[k] = periodic_[k] ? 0.0 : low[k];
    bins[k] = int(std::max(1.0, std::min(double(most), std::floor(extent * spacing / radius))));
    reach[k] = periodic_[k] ? int(std::ceil(radius * bins[k] / spacing)) : int(bins[k] > 1);
    per_bin[k] = bins[k] / extent;
  }
  std::vector<std::int32_t> bin(3 * n);
  const std::size_t bin_count = std::size_t(bins[0]) * bins[1] * bins[2];
  std::vector<std::int32_t> members(n), first(bin_count + 1, 0);
  const auto flat = [&](const std::int32_t *b) {
    return (std::size_t(b[0]) * bins[1] + b[1]) * bins[2] + b[2];
  };
  for (std::int64_t i = 0; i < n; i++)
    for (int k = 0; k < 3; k++) {
      const int b = int((fraction[3 * i + k] - origin[k]) * per_bin[k]);
      bin[3 * i + k] = std::max(0, std::min(b, bins[k] - 1));
    }

  order_.resize(n);
  std::iota(order_.begin(), order_.end(), 0);
  if (n >= kSortedFrom) {
    std::vector<std::uint64_t> code(n);
    for (std::int64_t i = 0; i < n; i++)
      code[i] = morton(bin[3 * i], bin[3 * i + 1], bin[3 * i + 2]);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::int32_t a, std::int32_t b) { return code[a] < code[b]; });
  }
  block_.resize(blocks_ + 1);
  for (int t = 0; t <= blocks_; t++)
    block_[t] = std::int32_t(n * t / blocks_);
  std::vector<std::int32_t> owner(n);
  for (int t = 0; t < blocks_; t++)
    std::fill(owner.begin() + block_[t], owner.begin() + block_[t + 1], t);

  for (std::int64_t s = 0; s < n; s++)
    first[flat(&bin[3 * order_[s]]) + 1]++;
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::int32_t> filled(first.begin(), first.end() - 1);
  for (std::int64_t s = 0; s < n; s++)
    members[filled[flat(&bin[3 * order_[s]])]++] = std::int32_t(s);

  pairs_.range.assign(blocks_, {});
  pairs_.center.clear();
  pairs_.neighbor.clear();
  pairs_.image.clear();
  ImageIndex index(images_);
  const auto append = [&](const std::vector<Entry> &entries) {
    for (const Entry &e : entries) {
      pairs_.center.push_back(e.center);
      pairs_.neighbor.push_back(e.neighbor);
      pairs_.image.push_back(index(e.shift));
    }
    return std::int64_t(pairs_.center.size());
  };
  std::vector<Entry> both, single;
  std::size_t sorted = 0, sorted_single = 0; // entries of finished tiles
  for (std::int64_t s = 0; s < n; s++) {
    const std::int32_t i = order_[s];
    const double *ri = positions + 3 * i;
    const std::int32_t *bi = &bin[3 * i];
    for (int a = -reach[0]; a <= reach[0]; a++)
      for (int b = -reach[1]; b <= reach[1]; b++)
        for (int c = -reach[2]; c <= reach[2]; c++) {
          std::int32_t there[3] = {bi[0] + a, bi[1] + b, bi[2] + c}, image[3];
          bool outside = false;
          for (int k = 0; k < 3; k++) {
            image[k] = there[k] >= 0 ? there[k] / bins[k] : -((bins[k] - 1 - there[k]) / bins[k]);
            outside |= image[k] != 0 && !periodic_[k];
            there[k] -= image[k] * bins[k];
          }
          if (outside)
            continue;
          const std::size_t f = flat(there);
          for (std::int32_t m = first[f]; m < first[f + 1]; m++) {
            const std::int32_t t = members[m], j = order_[t];
            const bool mine = owner[t] == owner[s];
            if (mine && t < s)
              continue;
            Entry e = {std::int32_t(s), t, {}};
            double squared = 0.0;
            for (int k = 0; k < 3; k++)
              e.shift[k] = image[k] - wrap[3 * j + k] + wrap[3 * i + k];
            for (int k = 0; k < 3; k++) {
              const double d = positions[3 * j + k] - ri[k] + e.shift[0] * cell[k] +
                               e.shift[1] * cell[3 + k] + e.shift[2] * cell[6 + k];
              squared += d * d;
            }
            if (squared >= radius * radius)
              continue;
            if (t == s) {
              if (e.shift[0] || e.shift[1] || e.shift[2])
                single.push_back(e);
            } else {
              (mine ? both : single).push_back(e);
            }
          }
        }
    const int t = owner[s];
    const bool block_ends = s + 1 == block_[t + 1];
    if (block_ends || (s + 1 - block_[t]) % tile_ == 0) {
      // An order that does not depend on where the bins lay when the list was built.
      std::sort(both.begin() + sorted, both.end());
      std::sort(single.begin() + sorted_single, single.end());
      sorted = both.size();
      sorted_single = single.size();
    }
    if (block_ends) {
      PairRange &range = pairs_.range[t];
      range.first = std::int64_t(pairs_.center.size());
      range.one_sided = append(both);
      range.last = append(single);
      both.clear();
      single.clear();
      sorted = sorted_single = 0;
    }
  }

  reference_.assign(positions, positions + 3 * n);
  std::memcpy(cell_, cell, sizeof cell_);
  std::memcpy(last_cell_, cell, sizeof last_cell_);
  strained_ = false;
  smallest_stretch_ = 1.0;
  set_shifts(cell);
  builds_++;
}

} // namespace mlff
