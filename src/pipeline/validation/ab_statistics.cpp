#include "rluf/pipeline/validation/ab_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "rluf/core/error.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/evaluation/statistics.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// P(a, x) = x^a e^-x / Gamma(a + 1) * (1 + x / (a + 1) + x^2 / ((a + 1)(a + 2)) + ...), good for x < a + 1.
double lower_gamma_series(double a, double x) {
  double term = 1, sum = 1;
  for (int n = 1; n < 10000 && term > sum * 1e-17; ++n) sum += term *= x / (a + n);
  return sum * std::exp(a * std::log(x) - x - std::lgamma(a + 1));
}

/// Q(a, x) = x^a e^-x / Gamma(a) * 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)), good for x >= a + 1. Evaluated from
/// the end: the number of terms is generous, and nothing can vanish in a denominator there.
double upper_gamma_fraction(double a, double x) {
  double fraction = 0;
  for (int n = 1000; n >= 1; --n) fraction = n * (n - a) / (x + 2 * n + 1 - a - fraction);
  return std::exp(a * std::log(x) - x - std::lgamma(a)) / (x + 1 - a - fraction);
}

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

Interval normal_interval(double value, double variance, double confidence) {
  const double half = normal_quantile(0.5 + confidence / 2) * std::sqrt(variance);
  return {value, value - half, value + half};
}

Interval rate_interval(const Ratio& rate, double usual_effect, double confidence) {
  const double own = design_effect(rate), effect = own > 0 ? own : std::isfinite(usual_effect) ? usual_effect : 1;
  const double n = rate.denominator / effect, p = rate.value, z = normal_quantile(0.5 + confidence / 2);
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n);
  return {p, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

RatioComparison compare_ratios(const Ratio& treatment, const Ratio& control, double confidence) {
  RatioComparison comparison;
  const bool spread = treatment.variance > 0 && control.variance > 0;
  const double difference = treatment.value - control.value,
               variance = spread ? treatment.variance + control.variance : kNaN;
  comparison.difference = normal_interval(difference, variance, confidence);
  comparison.p = variance > 0 ? std::erfc(std::abs(difference) / std::sqrt(2 * variance)) : kNaN;
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

double design_effect(const Ratio& rate) {
  const double independent = rate.value * (1 - rate.value) / rate.denominator;
  return independent > 0 ? rate.variance / independent : kNaN;
}

double responses_needed(double rate, double lift, double alpha, double power) {
  const double other = rate * (1 + lift);
  if (!(rate > 0 && rate < 1 && other > 0 && other < 1) || other == rate) return kNaN;
  const double z = normal_quantile(1 - alpha / 2) + normal_quantile(power);
  return z * z * (rate * (1 - rate) + other * (1 - other)) / ((other - rate) * (other - rate));
}

double users_needed(double rate, double lift, double design_effect, double responses_per_user, double alpha,
                    double power) {
  return std::ceil(responses_needed(rate, lift, alpha, power) * design_effect / responses_per_user);
}

ChiSquare equal_shares_test(std::span<const std::int64_t> counts) {
  RLUF_ASSERT(counts.size() >= 2);
  double total = 0;
  for (const std::int64_t count : counts) total += static_cast<double>(count);
  ChiSquare test{.statistic = 0, .p = 1, .degrees_of_freedom = std::ssize(counts) - 1};
  if (total == 0) return test;
  const double expected = total / static_cast<double>(counts.size());
  for (const std::int64_t count : counts) {
    const double difference = static_cast<double>(count) - expected;
    test.statistic += difference * difference / expected;
  }
  test.p = chi_square_tail(test.statistic, test.degrees_of_freedom);
  return test;
}

double chi_square_tail(double statistic, std::int64_t degrees_of_freedom) {
  RLUF_ASSERT(degrees_of_freedom > 0);
  if (!(statistic > 0)) return 1;
  const double a = static_cast<double>(degrees_of_freedom) / 2, x = statistic / 2;
  return x < a + 1 ? 1 - lower_gamma_series(a, x) : upper_gamma_fraction(a, x);
}

}  // namespace rluf
