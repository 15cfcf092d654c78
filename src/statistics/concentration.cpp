#include "rluf/statistics/concentration.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

double gini(const CountHistogram& users_by_events) {
  double users = 0, events = 0, area = 0;  // area: sum over users, from least to most, of the events up to and with him
  for (const auto& [count, num] : users_by_events) {
    const auto each = static_cast<double>(count), n = static_cast<double>(num);
    area += n * events + each * n * (n + 1) / 2;
    events += each * n;
    users += n;
  }
  return events == 0 ? kNaN : (users + 1 - 2 * area / events) / users;
}

double top_share(const CountHistogram& users_by_events, double share) {
  std::int64_t users = 0, events = 0;
  for (const auto& [count, num] : users_by_events) {
    users += num;
    events += count * num;
  }
  if (events == 0) return kNaN;
  auto left = static_cast<std::int64_t>(std::ceil(share * static_cast<double>(users)));
  std::int64_t top = 0;
  for (auto it = users_by_events.rbegin(); it != users_by_events.rend() && left > 0; ++it) {
    const std::int64_t taken = std::min(left, it->second);
    top += taken * it->first;
    left -= taken;
  }
  return static_cast<double>(top) / static_cast<double>(events);
}

Drift drift_of(std::span<const std::int64_t> events, std::span<const std::int64_t> responses, double design_effect) {
  RLUF_ASSERT(events.size() == responses.size());
  double all_events = 0, all = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    all_events += static_cast<double>(events[i]);
    all += static_cast<double>(responses[i]);
  }
  Drift drift;
  const double rate = all_events / all, unit = design_effect * rate * (1 - rate);  // of one response
  if (!(unit > 0)) return drift;
  double weights = 0, squares = 0, slices = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (responses[i] == 0) continue;
    const auto n = static_cast<double>(responses[i]);
    const double difference = static_cast<double>(events[i]) / n - rate, weight = n / unit;
    drift.statistic += weight * difference * difference;
    weights += weight;
    squares += weight * weight;
    slices += 1;
  }
  if (slices < 2) return {};
  drift.degrees_of_freedom = static_cast<std::int64_t>(slices) - 1;
  drift.p = chi_square_tail(drift.statistic, drift.degrees_of_freedom);
  const double between = (drift.statistic - (slices - 1)) / (weights - squares / weights);
  drift.relative = std::sqrt(std::max(0.0, between)) / rate;
  return drift;
}

}  // namespace rluf
