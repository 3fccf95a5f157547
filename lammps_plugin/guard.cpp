// SPDX-License-Identifier: MIT
#include "guard.h"

#include <cmath>
#include <limits>

namespace mlff_plugin {

template <class Real> double KnownDomain::unusual(std::int32_t kind, const Real *features) const {
  const float *center = mean + kind * width, *row = whitener + kind * width * width;
  double sum = 0.0;
  for (std::int64_t i = 0; i < width; i++, row += width) {
    float white = 0.0f;
    for (std::int64_t j = 0; j <= i; j++)
      white += row[j] * (float(features[j]) - center[j]);
    sum += double(white) * double(white);
  }
  const double score = std::sqrt(sum / double(width)) / limit;
  return std::isfinite(score) ? score : std::numeric_limits<double>::infinity();
}

template double KnownDomain::unusual(std::int32_t, const float *) const;
template double KnownDomain::unusual(std::int32_t, const double *) const;

} // namespace mlff_plugin
