#include "rluf/pipeline/validation/ab_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/kernels/reductions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Ratio ratio_of_sums(std::span<const double> numerators, std::span<const double> denominators) {
  RLUF_ASSERT(numerators.size() == denominators.size());
  Ratio ratio{.value = kNaN, .variance = kNaN, .num_users = std::ssize(numerators), .denominator = 0};
  if (numerators.empty()) return ratio;
  const double n = static_cast<double>(numerators.size());
  const double mean_n = moments(numerators).mean, mean_d = moments(denominators).mean;
  ratio.denominator = mean_d * n;
  if (mean_d <= 0) return ratio;
  ratio.value = mean_n / mean_d;
  if (numerators.size() < 2) return ratio;
  // s_N^2 - 2 R s_ND + R^2 s_D^2 is the variance of N - R D, whose mean is 0.
  double sum = 0;
  for (std::size_t user = 0; user < numerators.size(); ++user) {
    const double residual = numerators[user] - ratio.value * denominators[user];
    sum += residual * residual;
  }
  ratio.variance = sum / (n - 1) / (n * mean_d * mean_d);
  return ratio;
}

RatioComparison compare_ratios(const Ratio& treatment, const Ratio& control, double confidence) {
  RatioComparison comparison;
  const bool spread = treatment.variance > 0 && control.variance > 0;
  const double difference = treatment.value - control.value,
               variance = spread ? treatment.variance + control.variance : kNaN;
  comparison.difference = normal_interval(difference, variance, confidence);
  comparison.p = variance > 0 ? normal_two_sided(difference / std::sqrt(variance)) : kNaN;
  if (control.value != 0 && std::isfinite(control.value)) {
    const double quotient = treatment.value / control.value, b2 = control.value * control.value;
    const double unknown = spread ? 0 : kNaN;
    comparison.lift = normal_interval(
        quotient - 1, treatment.variance / b2 + quotient * quotient * control.variance / b2 + unknown, confidence);
  } else {
    comparison.lift = {kNaN, kNaN, kNaN};
  }
  return comparison;
}

ChiSquare shares_test(std::span<const std::int64_t> counts, std::span<const double> shares) {
  RLUF_ASSERT(counts.size() >= 2 && shares.size() == counts.size());
  double total = 0, whole = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    total += static_cast<double>(counts[i]);
    whole += shares[i];
  }
  ChiSquare test{.statistic = 0, .p = 1, .degrees_of_freedom = std::ssize(counts) - 1};
  if (total == 0) return test;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = total * shares[i] / whole, difference = static_cast<double>(counts[i]) - expected;
    test.statistic += difference * difference / expected;
  }
  test.p = chi_square_tail(test.statistic, test.degrees_of_freedom);
  return test;
}

ChiSquare equal_shares_test(std::span<const std::int64_t> counts) {
  return shares_test(counts, std::vector<double>(counts.size(), 1.0));
}

}  // namespace rluf
