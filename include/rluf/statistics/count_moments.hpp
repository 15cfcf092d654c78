#pragma once
/// Sums and products of users' counts. All are whole numbers, so ranks may add their parts in any order to the last
/// bit, and every ratio of counts gets an interval in which a user's responses may depend on each other. Pure.
#include <cstdint>
#include <span>
#include <vector>

#include "rluf/statistics/ratio.hpp"

namespace rluf {

/// Over users: how many, sum of c_i, sum of c_i c_j, for num_counts counts c of a user (of events, of responses, ...).
class CountMoments {
 public:
  explicit CountMoments(std::size_t num_counts);
  /// @shape counts [num_counts]. A user whose counts are all 0 changes nothing but the number of users.
  void add(std::span<const std::int64_t> counts);
  std::size_t num_counts() const { return num_counts_; }
  std::int64_t num_users() const { return values_[0]; }
  std::int64_t sum(std::size_t i) const { return values_[1 + i]; }
  /// Variance of sum_i coefficients[i] * sum(i) over draws of users, where its expectation is 0:
  /// n / (n - 1) sum_users (coefficients . c)^2; NaN below two users. @shape coefficients [num_counts]
  double variance(std::span<const double> coefficients) const;
  /// For a sum over ranks. @shape [1 + num_counts + num_counts (num_counts + 1) / 2]
  std::vector<std::int64_t>& values() { return values_; }

 private:
  std::size_t product(std::size_t i, std::size_t j) const;
  std::size_t num_counts_;
  std::vector<std::int64_t> values_;
};

/// sum(event) / sum(trial). @source delta method of a ratio: Deng, Knoblich and Lu, KDD 2018 (arXiv 1803.06336)
Ratio rate_of(const CountMoments& moments, std::size_t event, std::size_t trial);

/// How often `outcome` comes with a signal and without it; counts 0..3 of a user are its responses with
/// {signal and outcome, signal alone, outcome alone, neither}.
struct Contrast {
  Interval with, without;  ///< rates of the outcome
  Interval difference;     ///< with - without
  Interval ratio;          ///< with / without, bounds from its logarithm; undefined where either is 0
  double phi = 0;          ///< correlation of the two; NaN where one is constant
  std::int64_t both = 0, num_with = 0, num_without = 0;
};
/// @source phi: Yule 1912; difference and log ratio by the delta method over users, both rates of one user together
Contrast contrast_of(const CountMoments& moments, double confidence);

}  // namespace rluf
