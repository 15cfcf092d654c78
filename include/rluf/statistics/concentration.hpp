#pragma once
/// How evenly events fall: over users (who dominates) and over time (does the rate drift). Pure functions.
#include <cstdint>
#include <map>
#include <span>

#include "rluf/statistics/ratio.hpp"

namespace rluf {

/// How many users have how many events: events -> users.
using CountHistogram = std::map<std::int64_t, std::int64_t>;

/// Gini coefficient of the events over the users: 0 all give as many, towards 1 one gives all; NaN without events.
/// @source Gini 1912, as mean absolute difference / (2 mean)
double gini(const CountHistogram& users_by_events);
/// Share of the events that comes from the ceil(share * users) users who gave most; NaN without events.
double top_share(const CountHistogram& users_by_events, double share);

/// A rate in slices of time.
struct Drift {
  double relative = 0;   ///< standard deviation between slices beyond chance / rate; 0: chance explains what is seen
  double statistic = 0;  ///< of homogeneity, chi-square
  double p = 1;
  std::int64_t degrees_of_freedom = 0;
};
/// Slices without responses are left out; a slice's variance is that of the whole rate with its own responses:
/// effect * rate * (1 - rate) / responses. All 0 where fewer than two slices or no spread are there.
/// @shape events, responses [num_slices]
/// @source between-group variance by moments: DerSimonian and Laird 1986
Drift drift_of(std::span<const std::int64_t> events, std::span<const std::int64_t> responses, double design_effect);

}  // namespace rluf
