#pragma once
/// Statistics of an A/B test that randomises users and counts responses. Pure functions: no I/O, no MPI.
#include <cstdint>
#include <span>

#include "rluf/statistics/distributions.hpp"
#include "rluf/statistics/ratio.hpp"

namespace rluf {

/// R = sum N / sum D with Var R = (s_N^2 - 2 R s_ND + R^2 s_D^2) / (n mean_D^2), n users with n - 1 in the moments.
/// A user's responses may depend on each other in any way; users must not. Users without responses belong in too.
/// @shape numerators, denominators [num_users]
/// @source delta method for a ratio metric: Deng, Knoblich and Lu, "Applying the delta method in metric analytics",
/// KDD 2018 (arXiv 1803.06336), section 3.2
Ratio ratio_of_sums(std::span<const double> numerators, std::span<const double> denominators);

/// What treatment changes against control; the two share no user.
struct RatioComparison {
  Interval difference;  ///< treatment - control
  Interval lift;        ///< treatment / control - 1; NaN if control is 0
  double p = 1;         ///< two-sided, of the difference
};
/// Bounds and p are NaN where one side shows no spread at all (not one heart, say): its variance is unknown, not 0.
/// Var(a / b) = Var(a) / b^2 + a^2 Var(b) / b^4 by the delta method. @source as ratio_of_sums
RatioComparison compare_ratios(const Ratio& treatment, const Ratio& control, double confidence = 0.95);

/// Sample-ratio mismatch: were users dealt to the arms in equal shares?
struct ChiSquare {
  double statistic = 0, p = 1;
  std::int64_t degrees_of_freedom = 0;
};
/// Pearson's test of planned shares, in any unit. @shape counts, shares [num_arms], at least 2 @source Pearson 1900
ChiSquare shares_test(std::span<const std::int64_t> counts, std::span<const double> shares);
/// Pearson's test of equal shares. @shape counts [num_arms], at least 2 @source Pearson 1900
ChiSquare equal_shares_test(std::span<const std::int64_t> counts);
}  // namespace rluf
