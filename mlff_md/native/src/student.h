// A student's weights in double precision, its filters as splines, its prior.
#pragma once

#include <string>
#include <vector>

#include "layout.h"
#include "mlff_native.h"

namespace mlff {

// Short-range prior and distance floor of a pair of species, see mlff_md/student/prior.py.
struct PriorPair {
  double strength, inverse_length, end; // eV Å, 1/Å, Å
  double floor_end, floor_width;        // Å

  // Half of the pair's energy (eV), the derivative of the whole by r (eV/Å); 0 from `end` on.
  void repulsion(double r, double *half_energy, double *derivative) const;
  // The distance that the network is shown and its derivative by r.
  void seen(double r, double *distance, double *slope) const;
};

struct StudentData {
  // Returns false, with one line in `error`, if the description is not usable.
  bool load(const mlff_student &from, std::string *error);
  // What a network is made of; valid as long as this object.
  const Weights &weights() const { return made_; }

  Shape shape = {};
  double cutoff = 0.0;
  std::vector<PriorPair> prior;
  std::vector<double> atomic_energies;

private:
  std::vector<double> filters_of(const double *weight, const double *bias, int messages,
                                 const mlff_student &from) const;

  std::vector<double> values_, readout_;
  std::vector<LayerWeights> layers_;
  std::vector<std::vector<double>> filters_;
  std::vector<const double *> filter_pointers_;
  Weights made_ = {};
};

} // namespace mlff
