#include "student.h"

#include <algorithm>
#include <cmath>

namespace mlff {
namespace {

constexpr double kPi = 3.14159265358979323846;
// Ziegler, Biersack, Littmark (1985).
constexpr double kExponents[4] = {3.19980, 0.94229, 0.40290, 0.20162};
constexpr double kCoefficients[4] = {0.18175, 0.50986, 0.28022, 0.02817};

// Polynomial with f(0) = 1 and f = f' = f'' = 0 at x = 1 and beyond.
double envelope(double x, double *derivative) {
  if (x >= 1.0) {
    *derivative = 0.0;
    return 0.0;
  }
  const double x5 = x * x * x * x * x;
  *derivative = -168.0 * x5 * (1.0 - x) * (1.0 - x);
  return 1.0 + x5 * x * (x * (48.0 - 21.0 * x) - 28.0);
}

} // namespace

void PriorPair::repulsion(double r, double *half_energy, double *derivative) const {
  *half_energy = *derivative = 0.0;
  if (r >= end)
    return;
  double slope;
  const double f = envelope(r / end, &slope);
  double screening = 0.0, screening_slope = 0.0;
  for (int k = 0; k < 4; k++) {
    const double term = kCoefficients[k] * std::exp(-kExponents[k] * inverse_length * r);
    screening += term;
    screening_slope -= kExponents[k] * inverse_length * term;
  }
  const double coulomb = strength / r;
  *half_energy = 0.5 * coulomb * screening * f;
  *derivative = coulomb * (screening_slope * f + screening * slope / end - screening * f / r);
}

void PriorPair::seen(double r, double *distance, double *slope) const {
  if (r >= floor_end) {
    *distance = r;
    *slope = 1.0;
    return;
  }
  const double t = std::max(0.0, (r - floor_end) / floor_width + 1.0), t3 = t * t * t;
  *distance = floor_end + floor_width * (t3 * t * (2.5 + t * (t - 3.0)) - 0.5);
  *slope = t3 * (10.0 + t * (6.0 * t - 15.0));
}

bool StudentData::load(const mlff_student &from, std::string *error) {
  if (from.abi != MLFF_NATIVE_ABI) {
    *error = "the native engine and the package belong to different versions; install again";
    return false;
  }
  const int sizes[] = {from.hidden, from.vectors, from.layers, from.num_rbf,
                       from.mlp,    from.readout, from.species};
  for (int size : sizes)
    if (size < 1 || size > 4096) {
      *error = "a size of the student is out of range";
      return false;
    }
  if (from.quadrupoles < 0 || from.quadrupoles > from.vectors) {
    *error = "a student has at most as many quadrupoles as vectors";
    return false;
  }
  shape = {from.hidden, from.vectors, from.quadrupoles, from.layers,      from.num_rbf,
           from.mlp,    from.readout, from.species,     from.norm_epsilon};
  cutoff = from.cutoff_A;
  basis_scale_ = from.basis_scale;
  message_norm_ = 1.0 / std::sqrt(from.neighbor_norm);
  energy_scale_ = from.energy_scale_eV;
  atomic_energies.assign(from.atomic_energies_eV, from.atomic_energies_eV + from.species);

  const int pairs = from.species * from.species;
  nearest_ = cutoff;
  for (int k = 0; k < pairs; k++) {
    const double end = from.prior[2 * pairs + k];
    const PriorPair pair = {from.prior[k], from.prior[pairs + k], end, from.floor_end * end,
                            from.floor_width * end};
    prior.push_back(pair);
    nearest_ = std::min(nearest_, pair.floor_end - 0.5 * pair.floor_width);
  }
  if (!(nearest_ > 0.0) || !(cutoff > nearest_)) {
    *error = "the student's prior does not fit its cutoff";
    return false;
  }

  values_.assign(from.weights, from.weights + from.num_weights);
  std::int64_t taken = 0;
  const auto take = [&](std::int64_t count) {
    const std::int64_t at = taken;
    taken += count;
    return at + count <= from.num_weights ? values_.data() + at : nullptr;
  };
  const std::int64_t F = shape.hidden, V = shape.vectors, Q = shape.quadrupoles, H = shape.mlp;
  made_.embedding = take(shape.species * F);
  for (int l = 0; l < shape.layers; l++) {
    const std::int64_t messages = shape.messages(l), gates = shape.gates(l);
    LayerWeights y = {};
    filters_.push_back(take(messages * shape.num_rbf));
    filter_biases_.push_back(take(messages));
    y.message_in = take(H * F);
    y.message_in_bias = take(H);
    y.message_out = take(messages * H);
    y.message_out_bias = take(messages);
    y.mixing = take(2 * V * V);
    y.quadrupole_mixing = take(Q * Q);
    y.update_in = take(H * shape.update_inputs());
    y.update_in_bias = take(H);
    y.update_out = take(gates * H);
    y.update_out_bias = take(gates);
    layers_.push_back(y);
  }
  made_.readout_in = take(shape.readout * F);
  made_.readout_in_bias = take(shape.readout);
  const double *out = take(shape.readout), *bias = take(1);
  if (taken != from.num_weights) {
    *error = "the number of weights does not fit the student's sizes";
    return false;
  }
  for (int k = 0; k < shape.readout; k++)
    readout_.push_back(out[k] * energy_scale_);
  made_.readout_out = readout_.data();
  made_.readout_out_bias = *bias * energy_scale_;
  made_.layers = layers_.data();
  return true;
}

Weights StudentData::weights(int knots) {
  splines_.clear();
  spline_pointers_.clear();
  for (int l = 0; l < shape.layers; l++)
    splines_.push_back(spline(l, knots));
  for (const auto &s : splines_)
    spline_pointers_.push_back(s.data());
  made_.filters = spline_pointers_.data();
  made_.knots = knots;
  made_.start = nearest_;
  made_.step = (cutoff - nearest_) / (knots - 1);
  return made_;
}

// Enveloped Bessel function k = 1 .. num_rbf, or the envelope itself for k = 0.
double StudentData::filter_basis(int k, double r, double *derivative) const {
  double slope;
  const double f = envelope(r / cutoff, &slope);
  slope /= cutoff;
  if (k == 0) {
    *derivative = slope;
    return f;
  }
  const double a = k * kPi / cutoff, wave = basis_scale_ * std::sin(a * r) / r;
  const double wave_slope = (basis_scale_ * a * std::cos(a * r) - wave) / r;
  *derivative = wave_slope * f + wave * slope;
  return wave * f;
}

// Interpolating cubic spline with the exact slopes at both ends: [knots - 1][messages][4].
std::vector<double> StudentData::spline(int layer, int knots) const {
  const int messages = shape.messages(layer), K = shape.num_rbf, rows = knots + 2;
  const double step = (cutoff - nearest_) / (knots - 1);
  // The spline is linear in the function: one spline per basis function, then one product.
  std::vector<double> basis(std::size_t(rows) * (K + 1));
  for (int k = 0; k <= K; k++) {
    // Unknowns c_1 .. c_knots of (c_{j-1} + 4 c_j + c_{j+1}) / 6 = f_j; c_0 and c_{knots+1} are
    // eliminated by the slopes (c_{j+1} - c_{j-1}) / (2 step) at the ends.
    std::vector<double> diagonal(knots, 4.0), upper(knots, 1.0), right(knots);
    double slope_first = 0.0, slope_last = 0.0, ignored;
    for (int j = 0; j < knots; j++)
      right[j] = 6.0 * filter_basis(k, j == knots - 1 ? cutoff : nearest_ + j * step, &ignored);
    filter_basis(k, nearest_, &slope_first);
    filter_basis(k, cutoff, &slope_last);
    right[0] += 2.0 * step * slope_first;
    right[knots - 1] -= 2.0 * step * slope_last;
    upper[0] = 2.0;
    for (int j = 1; j < knots; j++) {
      const double lower = j == knots - 1 ? 2.0 : 1.0, factor = lower / diagonal[j - 1];
      diagonal[j] -= factor * upper[j - 1];
      right[j] -= factor * right[j - 1];
    }
    std::vector<double> c(rows);
    c[knots] = right[knots - 1] / diagonal[knots - 1];
    for (int j = knots - 2; j >= 0; j--)
      c[j + 1] = (right[j] - upper[j] * c[j + 2]) / diagonal[j];
    c[0] = c[2] - 2.0 * step * slope_first;
    c[knots + 1] = c[knots - 1] + 2.0 * step * slope_last;
    for (int j = 0; j < rows; j++)
      basis[std::size_t(j) * (K + 1) + k] = c[j];
  }
  std::vector<double> out(std::size_t(knots - 1) * messages * 4);
  for (int j = 0; j < knots - 1; j++)
    for (int m = 0; m < messages; m++) {
      double c[4]; // of the four B-splines on this interval
      for (int k = 0; k < 4; k++) {
        const double *b = &basis[std::size_t(j + k) * (K + 1)];
        const double *w = filters_[layer] + std::size_t(m) * K;
        c[k] = filter_biases_[layer][m] * b[0];
        for (int n = 0; n < K; n++)
          c[k] += w[n] * b[n + 1];
        c[k] *= message_norm_;
      }
      double *to = &out[(std::size_t(j) * messages + m) * 4];
      to[0] = (c[0] + 4.0 * c[1] + c[2]) / 6.0;
      to[1] = (c[2] - c[0]) / 2.0;
      to[2] = (c[0] - 2.0 * c[1] + c[2]) / 2.0;
      to[3] = (c[3] - c[0] + 3.0 * (c[1] - c[2])) / 6.0;
    }
  return out;
}

} // namespace mlff
