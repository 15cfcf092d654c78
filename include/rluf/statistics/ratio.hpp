#pragma once
/// Ratios of sums over independent users and their intervals. Pure functions.
#include <cstdint>

#include "rluf/statistics/interval.hpp"

namespace rluf {

/// A ratio of sums over independent users, such as hearts / responses, with its sampling variance.
struct Ratio {
  double value = 0, variance = 0;  ///< NaN where undefined (fewer than two users, or no responses)
  std::int64_t num_users = 0;
  double denominator = 0;  ///< sum over the users
};

/// value -+ z sqrt(variance).
Interval normal_interval(double value, double variance, double confidence = 0.95);

/// a / b with Fieller's interval, of normal estimates with these variances and covariance; without bounds if b is not
/// different from 0 at this confidence, since then no finite interval is. @source Fieller 1954
Interval fieller_ratio(double a, double b, double variance_a, double variance_b, double covariance,
                       double confidence = 0.95);

/// Interval of a rate that stays within 0..1 and is there without a single event: Wilson's, with the effective sample
/// size responses / design effect. A rate of 0 or 1 shows no spread, so `usual_effect` stands in for its own.
/// @source Wilson 1927; effective sample sizes: Korn and Graubard, "Confidence intervals for proportions with small
/// expected number of positive counts estimated from survey data", Survey Methodology 24, 1998
Interval rate_interval(const Ratio& rate, double usual_effect, double confidence = 0.95);

/// Variance of a rate relative to that of as many independent responses: 1 + (m - 1) ICC for users of m responses.
/// NaN for a rate of 0 or 1. @source Kish, "Survey sampling", 1965
double design_effect(const Ratio& rate);

}  // namespace rluf
