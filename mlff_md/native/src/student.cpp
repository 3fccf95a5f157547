#include "student.h"

#include <algorithm>
#include <cmath>

namespace mlff {
namespace {

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
  atomic_energies.assign(from.atomic_energies_eV, from.atomic_energies_eV + from.species);

  const int pairs = from.species * from.species;
  for (int k = 0; k < pairs; k++) {
    const double end = from.prior[2 * pairs + k];
    prior.push_back(
        {from.prior[k], from.prior[pairs + k], end, from.floor_end * end, from.floor_width * end});
  }
  if (!(from.grid_start_A > 0.0) || !(cutoff > from.grid_start_A) || from.knots < 4) {
    *error = "the student's radial grid does not fit its cutoff";
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
  std::vector<const double *> filter_weights;
  made_.embedding = take(shape.species * F);
  for (int l = 0; l < shape.layers; l++) {
    const std::int64_t messages = shape.messages(l), gates = shape.gates(l);
    LayerWeights y = {};
    filter_weights.push_back(take(messages * shape.num_rbf));
    filter_weights.push_back(take(messages));
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
    readout_.push_back(out[k] * from.energy_scale_eV);
  made_.readout_out = readout_.data();
  made_.readout_out_bias = *bias * from.energy_scale_eV;
  made_.layers = layers_.data();
  for (int l = 0; l < shape.layers; l++)
    filters_.push_back(
        filters_of(filter_weights[2 * l], filter_weights[2 * l + 1], shape.messages(l), from));
  for (const std::vector<double> &filter : filters_)
    filter_pointers_.push_back(filter.data());
  made_.filters = filter_pointers_.data();
  made_.knots = from.knots;
  made_.start = from.grid_start_A;
  made_.step = (cutoff - from.grid_start_A) / (from.knots - 1);
  return true;
}

// The filters of a layer as B-spline coefficients, [knots + 2][messages], from the polynomials of
// the radial functions on each interval.
std::vector<double> StudentData::filters_of(const double *weight, const double *bias, int messages,
                                            const mlff_student &from) const {
  const int K = from.num_rbf, knots = from.knots;
  const double norm = 1.0 / std::sqrt(from.neighbor_norm);
  std::vector<double> out(std::size_t(knots + 2) * messages);
  for (int j = 0; j < knots - 1; j++)
    for (int m = 0; m < messages; m++) {
      double p[4]; // coefficients of 1, t, t^2, t^3
      for (int n = 0; n < 4; n++) {
        const double *basis = from.splines + (std::size_t(j) * 4 + n) * (K + 1);
        p[n] = bias[m] * basis[K];
        for (int k = 0; k < K; k++)
          p[n] += weight[std::size_t(m) * K + k] * basis[k];
        p[n] *= norm;
      }
      // p = sum of c_j B_j(t) with B_0 = (1 - t)^3 / 6 and so on.
      const double c1 = p[0] - p[2] / 3.0, c0 = c1 - p[1] + p[2], c2 = c1 + p[1] + p[2];
      double *to = &out[std::size_t(j) * messages + m];
      if (j == 0)
        to[0] = c0;
      to[messages] = c1;
      if (j == knots - 2) {
        to[2 * std::size_t(messages)] = c2;
        to[3 * std::size_t(messages)] = 6.0 * p[3] + c0 - 3.0 * (c1 - c2);
      }
    }
  return out;
}

} // namespace mlff
