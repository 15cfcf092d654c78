#include "rluf/pipeline/validation/ab_inference.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double sum_of(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// (N - R D) / mean D for each user: its mean over an arm is the arm's ratio minus R, to first order.
std::vector<double> linearised(const std::vector<double>& numerators, const std::vector<double>& denominators,
                               double ratio, double mean_denominator) {
  std::vector<double> values;
  for (std::size_t i = 0; i < numerators.size(); ++i)
    values.push_back(mean_denominator > 0 ? (numerators[i] - ratio * denominators[i]) / mean_denominator : 0.0);
  return values;
}

double covariance(const std::vector<double>& x, const std::vector<double>& y) {
  const double mean_x = moments(x).mean, mean_y = moments(y).mean;
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - mean_x) * (y[i] - mean_y);
  return x.size() > 1 ? sum / static_cast<double>(x.size() - 1) : 0.0;
}

/// Positions from the smallest p to the largest.
std::vector<std::size_t> order_of(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  return order;
}

}  // namespace

Interval fieller_lift(const Ratio& treatment, const Ratio& control, double confidence) {
  if (!(treatment.variance > 0)) return {treatment.value / control.value - 1, kNaN, kNaN};
  const Interval ratio =
      fieller_ratio(treatment.value, control.value, treatment.variance, control.variance, 0, confidence);
  return {ratio.value - 1, ratio.low - 1, ratio.high - 1};
}

AdjustedDifference cuped_difference(const ArmSums& treatment, const ArmSums& control, double confidence) {
  struct Side {
    std::vector<double> y, x;
    double n = 0;
  };
  const auto pooled = [&](auto member) { return sum_of(treatment.*member) + sum_of(control.*member); };
  const double ratio_before =
      pooled(&ArmSums::numerators_before) / std::max(1e-300, pooled(&ArmSums::denominators_before));
  const double users = static_cast<double>(treatment.numerators.size() + control.numerators.size());
  const double mean_before = pooled(&ArmSums::denominators_before) / users;
  std::vector<Side> sides;
  double covariances = 0, variances = 0;
  for (const ArmSums* arm : {&treatment, &control}) {
    const double ratio = sum_of(arm->numerators) / sum_of(arm->denominators);
    const double n = static_cast<double>(arm->numerators.size());
    sides.push_back({linearised(arm->numerators, arm->denominators, ratio, sum_of(arm->denominators) / n),
                     linearised(arm->numerators_before, arm->denominators_before, ratio_before, mean_before), n});
    covariances += covariance(sides.back().y, sides.back().x);
    variances += covariance(sides.back().x, sides.back().x);
  }
  const double theta = variances > 0 ? covariances / variances : 0.0;
  double adjusted = 0, plain = 0;
  for (const Side& side : sides) {
    std::vector<double> rest(side.y);
    for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= theta * side.x[i];
    adjusted += covariance(rest, rest) / side.n;
    plain += covariance(side.y, side.y) / side.n;
  }
  const double difference = sum_of(treatment.numerators) / sum_of(treatment.denominators) -
                            sum_of(control.numerators) / sum_of(control.denominators) -
                            theta * (moments(sides[0].x).mean - moments(sides[1].x).mean);
  return {normal_interval(difference, adjusted, confidence),
          adjusted > 0 ? normal_two_sided(difference / std::sqrt(adjusted)) : kNaN, adjusted / plain};
}

Interval confidence_sequence(double value, double variance, double num_users, double planned_users, double confidence) {
  const double alpha = 1 - confidence, log_term = -2 * std::log(alpha);
  const double rho2 = (log_term + std::log(log_term) + 1) / planned_users, t = num_users;
  const double half = std::sqrt(variance * t) *
                      std::sqrt(2 * (t * rho2 + 1) / (t * t * rho2) * std::log(std::sqrt(t * rho2 + 1) / alpha));
  return {value, value - half, value + half};
}

double always_valid_p(double difference, double variance, double tau) {
  const double all = variance + tau * tau;
  const double log_ratio = 0.5 * std::log(variance / all) + tau * tau * difference * difference / (2 * variance * all);
  return std::min(1.0, std::exp(-log_ratio));
}

double non_inferiority_p(double difference, double variance, double margin) {
  return normal_upper((margin - difference) / std::sqrt(variance));
}

std::vector<double> holm_adjusted(std::span<const double> p) {
  std::vector<double> adjusted(p.size());
  double largest = 0;
  const std::vector<std::size_t> order = order_of(p);
  for (std::size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, p[order[i]] * static_cast<double>(order.size() - i)));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

std::vector<double> benjamini_hochberg_adjusted(std::span<const double> p) {
  std::vector<double> adjusted(p.size());
  double smallest = 1;
  const std::vector<std::size_t> order = order_of(p);
  for (std::size_t i = order.size(); i-- > 0;) {
    smallest = std::min(smallest, p[order[i]] * static_cast<double>(order.size()) / static_cast<double>(i + 1));
    adjusted[order[i]] = smallest;
  }
  return adjusted;
}

}  // namespace rluf
