#include "rluf/statistics/count_moments.hpp"

#include <array>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr Interval kUndefined{kNaN, kNaN, kNaN};

}  // namespace

CountMoments::CountMoments(std::size_t num_counts)
    : num_counts_(num_counts), values_(1 + num_counts + num_counts * (num_counts + 1) / 2, 0) {}

/// Where c_i c_j stands, i <= j.
std::size_t CountMoments::product(std::size_t i, std::size_t j) const {
  return 1 + num_counts_ + i * num_counts_ - i * (i + 1) / 2 + j;
}

void CountMoments::add(std::span<const std::int64_t> counts) {
  RLUF_ASSERT(counts.size() == num_counts_);
  ++values_[0];
  for (std::size_t i = 0; i < num_counts_; ++i) {
    if (counts[i] == 0) continue;
    values_[1 + i] += counts[i];
    for (std::size_t j = i; j < num_counts_; ++j) values_[product(i, j)] += counts[i] * counts[j];
  }
}

double CountMoments::variance(std::span<const double> coefficients) const {
  RLUF_ASSERT(coefficients.size() == num_counts_);
  const auto n = static_cast<double>(num_users());
  if (n < 2) return kNaN;
  double sum = 0;
  for (std::size_t i = 0; i < num_counts_; ++i)
    for (std::size_t j = i; j < num_counts_; ++j)
      sum += (i == j ? 1 : 2) * coefficients[i] * coefficients[j] * static_cast<double>(values_[product(i, j)]);
  return std::max(0.0, sum) * n / (n - 1);
}

Ratio rate_of(const CountMoments& moments, std::size_t event, std::size_t trial) {
  const auto trials = static_cast<double>(moments.sum(trial));
  Ratio ratio{.value = kNaN, .variance = kNaN, .num_users = moments.num_users(), .denominator = trials};
  if (trials == 0) return ratio;
  ratio.value = static_cast<double>(moments.sum(event)) / trials;
  std::vector<double> coefficients(moments.num_counts(), 0.0);
  coefficients[event] += 1 / trials;
  coefficients[trial] -= ratio.value / trials;
  ratio.variance = moments.variance(coefficients);
  return ratio;
}

Contrast contrast_of(const CountMoments& moments, double confidence) {
  std::array<double, 4> n{};
  for (std::size_t i = 0; i < 4; ++i) n[i] = static_cast<double>(moments.sum(i));
  const double with = n[0] + n[1], without = n[2] + n[3];
  Contrast contrast{.with = kUndefined,
                    .without = kUndefined,
                    .difference = kUndefined,
                    .ratio = kUndefined,
                    .phi = kNaN,
                    .both = moments.sum(0),
                    .num_with = moments.sum(0) + moments.sum(1),
                    .num_without = moments.sum(2) + moments.sum(3)};
  const double p = n[0] / with, q = n[2] / without;
  // What a user adds to each rate's error: (outcomes - rate * responses) / responses of all users.
  const std::array<double, 4> of_with{(1 - p) / with, -p / with, 0, 0},
      of_without{0, 0, (1 - q) / without, -q / without};
  if (with > 0) contrast.with = rate_interval({p, moments.variance(of_with), moments.num_users(), with}, 1, confidence);
  if (without > 0)
    contrast.without = rate_interval({q, moments.variance(of_without), moments.num_users(), without}, 1, confidence);
  if (with == 0 || without == 0) return contrast;
  std::array<double, 4> difference{}, log_ratio{};
  for (std::size_t i = 0; i < 4; ++i) {
    difference[i] = of_with[i] - of_without[i];
    log_ratio[i] = of_with[i] / p - of_without[i] / q;
  }
  contrast.difference = normal_interval(p - q, moments.variance(difference), confidence);
  if (p > 0 && q > 0) {
    const Interval log = normal_interval(std::log(p / q), moments.variance(log_ratio), confidence);
    contrast.ratio = {p / q, std::exp(log.low), std::exp(log.high)};
  }
  const double outcome = n[0] + n[2], rest = n[1] + n[3];
  if (outcome > 0 && rest > 0) contrast.phi = (n[0] * n[3] - n[1] * n[2]) / std::sqrt(with * without * outcome * rest);
  return contrast;
}

}  // namespace rluf
