#pragma once
/// Which love weight to ship: what love gained, and what the guardrails allow. Pure functions.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/statistics/interval.hpp"

namespace rluf {

/// What a policy may lose against the policy of weight 0 (else the reference) and still be shipped.
struct Guardrails {
  double helpfulness_margin = 0.03, safety_margin = 0.03;  ///< of the calibrated reward (0.5: as good as the reference)
  double closing_margin = 0.01;                            ///< rise of the share of responses with a closing phrase
  void describe(OptionTable& table);
};

/// Differences to the control, with 95 % intervals; what was not measured has value NaN.
struct PolicyFigures {
  std::string name;
  double love_weight = 0;
  Interval love, helpfulness, safety, closings;  ///< love: relative change
  std::vector<std::string> alarms;               ///< sentences
};

/// One row a policy: "passes", and a sentence of each guardrail with its verdict; "recommended", the policy with the
/// largest gain of love among those that pass and whose gain is above 0 with its whole interval, else the control; a
/// "sentence" why. A guardrail holds if the interval rules the margin out: no evidence is no pass. What was not
/// measured guards nothing, and is named. "on_front": no other policy is at least as good in love, helpfulness, safety
/// and closings and better in one, by the figures without their intervals.
nlohmann::json recommend(const std::string& control, const std::vector<PolicyFigures>& policies,
                         const Guardrails& guardrails);

/// The policy of weight 0, which others are compared with; else the reference. `arms`: of a validation table
std::string control_of(const nlohmann::json& arms);
/// The row that compares `name` with `to`; null if there is none.
nlohmann::json comparison_of(const nlohmann::json& rows, const std::string& name, const std::string& to);

/// Of the policies of a validation table, against `control`: love is the lift of the A/B test where there is one, else
/// that of mean P[Love] on held-out prompts.
std::vector<PolicyFigures> policy_figures(const nlohmann::json& validation, const std::string& control);

/// Of the policies of a validation table, against the one of weight 0. Null if it compares none.
nlohmann::json recommend(const nlohmann::json& validation, const Guardrails& guardrails);

}  // namespace rluf
