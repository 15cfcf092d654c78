#pragma once
/// What may be concluded from an A/B test: noisy bases, pre-periods, looks before the end, guardrails, segments. Pure
/// functions; together with ab_statistics.hpp.
#include <cstdint>
#include <span>
#include <vector>

#include "rluf/pipeline/validation/ab_statistics.hpp"

namespace rluf {

/// Interval of treatment / control - 1 that stays right when the control's rate is noisy; bounds are NaN where the
/// control is not different from 0 at this confidence, since then no finite interval is. @source Fieller 1954
Interval fieller_lift(const Ratio& treatment, const Ratio& control, double confidence = 0.95);

/// Sums of every user of one arm: in the test and, for the same users, in the time before it. @shape all [num_users]
struct ArmSums {
  std::vector<double> numerators, denominators, numerators_before, denominators_before;
};
/// Difference of ratios, adjusted by what the users did before they were randomised (CUPED): both ratios linearised,
/// Y - theta X with theta = cov(Y, X) / var(X) pooled over the arms.
struct AdjustedDifference {
  Interval difference{};      ///< treatment - control
  double p = 1;               ///< two-sided
  double variance_ratio = 1;  ///< to the variance without adjustment
};
/// @source Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled experiments by utilizing
/// pre-experiment data", WSDM 2013; ratios as in ab_statistics.hpp
AdjustedDifference cuped_difference(const ArmSums& treatment, const ArmSums& control, double confidence = 0.95);

/// Interval of an estimate that may be looked at as often as one likes: the chance that the truth is ever outside is at
/// most 1 - confidence, for large samples. `variance`: of the estimate now, from `num_users`; narrowest around
/// `planned_users`. @source Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and
/// asymptotic confidence sequences", Annals of Statistics 2024, theorem 2.2
Interval confidence_sequence(double value, double variance, double num_users, double planned_users,
                             double confidence = 0.95);
/// p that may be looked at as often as one likes: 1 / likelihood ratio of the mixture N(0, tau^2) of effects.
/// @source Johari, Koomen, Pekelis and Walsh, "Peeking at A/B tests", KDD 2017
double always_valid_p(double difference, double variance, double tau);

/// One-sided p that a metric which should not rise has risen by `margin` or more: small means that it has not.
double non_inferiority_p(double difference, double variance, double margin);

/// Adjusted p-values, in the order given. @source Holm 1979 (any false rejection); Benjamini and Hochberg 1995 (share
/// of false ones among the rejected)
std::vector<double> holm_adjusted(std::span<const double> p);
std::vector<double> benjamini_hochberg_adjusted(std::span<const double> p);

}  // namespace rluf
