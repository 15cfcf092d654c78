#pragma once
/// The A/B test of a real product, from its log of responses with the arm that served each user.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/pipeline/validation/ab_inference.hpp"

namespace rluf {

struct AbLogOptions {
  std::string control = "", arm_field = "arm", signal = "love", output = "";
  std::vector<std::string> guardrails = {"thumbs_down", "regenerate"};
  std::vector<double> shares = {};
  double start = 0, guardrail_margin = 0.05, alpha = 0.05, power = 0.8, expected_lift = 0.1;
  std::int64_t planned_users = 0;
  bool gate = false;
  void describe(OptionTable& table);
};

/// One arm, user by user. @shape columns [num_users]
struct AbLogArm {
  ArmSums signal;                                         ///< of options.signal; denominators are responses
  std::map<std::string, std::vector<double>> guardrails;  ///< events in the test
  std::map<std::string, ArmSums> segments;                ///< by use_case; of users with a response there
};
struct AbLog {
  std::map<std::string, AbLogArm> arms;
  std::int64_t num_rows = 0, num_rows_before = 0, num_users_of_several_arms = 0, num_rows_of_several_arms = 0;
  std::vector<std::string> small_arms;  ///< with fewer than 20 users: left out, since no variance can be told
  double days = 0;                      ///< from the first to the last row of the test
};

/// {user_id, timestamp, signals, ARM_FIELD, use_case (optional)} a line. Rows older than options.start are the
/// pre-period, whatever their arm; users whom several arms served in the test are left out and counted.
/// @memory a few numbers a user, signal and use case @throws Error(kBadData) naming FILE:LINE
AbLog read_ab_log(const std::string& path, const AbLogOptions& options);

/// Sample ratio, rates, for each arm against the control: lift (delta method and Fieller), CUPED, what may be looked at
/// at any time, guardrails (non-inferiority, Holm), segments (Benjamini-Hochberg), users needed; and a "verdict" with
/// its reason: ship, do not ship, or go on. Pure function. @throws Error(kBadInput) if the control is not in the log
nlohmann::json ab_log_table(const AbLog& log, const AbLogOptions& options);

}  // namespace rluf
