#pragma once
/// How many users and days an A/B test needs, planned from options or from a log.
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/statistics/interval.hpp"

namespace rluf {

/// A 0 is taken from the log, where there is one.
struct AbPlanOptions {
  double rate = 0, responses_per_user = 0, design_effect = 0, users_per_day = 0;
  double lift = 0.05;
  std::vector<double> lifts = {0.01, 0.02, 0.05, 0.0973, 0.2, 0.28};
  std::vector<double> days = {7, 14, 28, 56};
  double alpha = 0.05, power = 0.8, cuped_correlation = 0;
  double control_share = 0, traffic_share = 1;
  std::int64_t arms = 2;
  std::string output = "";
  void describe(OptionTable& table);
};

/// What a log says of the traffic of a test.
struct LogTraffic {
  Interval rate{};  ///< events per response
  double responses_per_user = 0, design_effect = 0, users_per_day = 0, days = 0;
  double half_correlation = 0;  ///< of users' figures in the two halves of the time; NaN if it cannot be told
  std::int64_t num_rows = 0, num_without_signal = 0, num_users = 0, num_events = 0;
};
/// {user_id, timestamp, signals} a line; rows without the signal are left out and counted. `max_rows` 0: all.
/// @memory a few numbers a user @throws Error(kBadData) naming FILE:LINE, or if fewer than two users or no event is
/// there
/// @source design effect by the delta method: Deng, Knoblich and Lu, KDD 2018; correlation as in CUPED: Deng et al.
/// 2013
LogTraffic traffic_of_log(const std::string& path, const std::string& signal, std::int64_t max_rows);

/// Users an arm and days for each lift, the lift that each number of days shows, and what they follow from. Pure.
/// @throws Error(kBadInput) if neither options nor log give a rate, or shares leave an arm without users
nlohmann::json ab_plan_table(const AbPlanOptions& options, const std::optional<LogTraffic>& log);
/// It with the formula and its numbers, so that a reader can calculate it again.
std::string ab_plan_text(const nlohmann::json& table);

}  // namespace rluf
