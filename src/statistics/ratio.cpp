#include "rluf/statistics/ratio.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Interval normal_interval(double value, double variance, double confidence) {
  const double half = normal_quantile(0.5 + confidence / 2) * std::sqrt(variance);
  return {value, value - half, value + half};
}

Interval fieller_ratio(double a, double b, double variance_a, double variance_b, double covariance, double confidence) {
  const double z = normal_quantile(0.5 + confidence / 2), ratio = a / b, g = z * z * variance_b / (b * b);
  if (!(g < 1)) return {ratio, kNaN, kNaN};
  const double middle = ratio - z * z * covariance / (b * b);
  const double half = std::sqrt(std::max(0.0, middle * middle - (1 - g) * (a * a - z * z * variance_a) / (b * b)));
  return {ratio, (middle - half) / (1 - g), (middle + half) / (1 - g)};
}

Interval rate_interval(const Ratio& rate, double usual_effect, double confidence) {
  const double own = design_effect(rate), effect = own > 0 ? own : std::isfinite(usual_effect) ? usual_effect : 1;
  const double n = rate.denominator / effect, p = rate.value, z = normal_quantile(0.5 + confidence / 2);
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {p, p == 0 ? 0 : std::max(0.0, middle - half), p == 1 ? 1 : std::min(1.0, middle + half)};
}

double design_effect(const Ratio& rate) {
  const double independent = rate.value * (1 - rate.value) / rate.denominator;
  return independent > 0 ? rate.variance / independent : kNaN;
}

}  // namespace rluf
