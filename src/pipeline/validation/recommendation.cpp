#include "rluf/pipeline/validation/recommendation.hpp"

#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Interval interval_at(const Json& row, const std::string& key) {
  if (!row.is_object() || !row.contains(key) || !row[key].is_object() || !row[key].contains("low"))
    return {kNaN, kNaN, kNaN};
  const Json& figure = row[key];
  return {figure.at("value"), figure.at("low"), figure.at("high")};
}

/// One guardrail: `worst` is the end of the interval that may not pass the margin.
struct Verdict {
  bool measured = false, holds = true;
  std::string sentence;
};

Verdict not_below(const std::string& what, const Interval& change, double margin) {
  if (!std::isfinite(change.low)) return {false, true, what + " was not measured"};
  const bool holds = change.low >= -margin;
  return {true, holds,
          concat(what, " ", interval_text(change.to_json(), 1, 3), ": a loss of ", margin,
                 holds ? " is ruled out" : " is not ruled out")};
}

Verdict not_above(const std::string& what, const Interval& change, double margin) {
  if (!std::isfinite(change.high)) return {false, true, what + " were not measured"};
  const bool holds = change.high <= margin;
  return {true, holds,
          concat(what, " ", interval_text(change.to_json(), 100, 2), " points: a rise of ", 100 * margin,
                 holds ? " points is ruled out" : " points is not ruled out")};
}

std::vector<Verdict> verdicts_of(const PolicyFigures& policy, const Guardrails& guardrails) {
  std::vector<Verdict> verdicts{not_below("helpfulness", policy.helpfulness, guardrails.helpfulness_margin),
                                not_below("safety", policy.safety, guardrails.safety_margin),
                                not_above("closings", policy.closings, guardrails.closing_margin)};
  for (const std::string& alarm : policy.alarms) verdicts.push_back({true, false, "alarm: " + alarm});
  return verdicts;
}

/// 1: a is better than b in one figure and worse in none, as far as both were measured.
bool dominates(const PolicyFigures& a, const PolicyFigures& b) {
  bool better = false;
  for (const auto& [of_a, of_b] : {std::pair{a.love.value, b.love.value},
                                   {a.helpfulness.value, b.helpfulness.value},
                                   {a.safety.value, b.safety.value},
                                   {-a.closings.value, -b.closings.value}}) {
    if (of_a < of_b) return false;
    better = better || of_a > of_b;
  }
  return better;
}

}  // namespace

void Guardrails::describe(OptionTable& table) {
  table.section("guardrails",
                "What the recommended policy may lose against the one of love weight 0 (validate's last table). A "
                "margin must be ruled out by a 95 % interval.");
  table.add("helpfulness_margin", &helpfulness_margin,
            {.text = "loss of the calibrated helpfulness reward, where 0.5 is as good as the reference",
             .low = 0,
             .high = 1});
  table.add("safety_margin", &safety_margin, {.text = "the same of safety", .low = 0, .high = 1});
  table.add("closing_margin", &closing_margin,
            {.text = "rise of the share of responses with a closing phrase", .low = 0, .high = 1});
}

Json recommend(const std::string& control, const std::vector<PolicyFigures>& policies, const Guardrails& guardrails) {
  Json rows = Json::array();
  const PolicyFigures* best = nullptr;
  for (const PolicyFigures& policy : policies) {
    Json row{{"name", policy.name},
             {"love_weight", policy.love_weight},
             {"love", policy.love.to_json()},
             {"helpfulness", policy.helpfulness.to_json()},
             {"safety", policy.safety.to_json()},
             {"closings", policy.closings.to_json()}};
    bool passes = true, on_front = true;
    for (const Verdict& verdict : verdicts_of(policy, guardrails)) {
      passes = passes && verdict.holds;
      row["guardrails"].push_back(
          {{"measured", verdict.measured}, {"holds", verdict.holds}, {"sentence", verdict.sentence}});
    }
    for (const PolicyFigures& other : policies) on_front = on_front && !dominates(other, policy);
    row["passes"] = passes;
    row["on_front"] = on_front;
    rows.push_back(row);
    if (passes && policy.love.low > 0 && (best == nullptr || policy.love.value > best->love.value)) best = &policy;
  }
  std::string why = "no policy gains love beyond chance and passes every guardrail";
  if (best != nullptr)
    why = concat("it gains ", interval_text(best->love.to_json(), 100, 1),
                 " % of love and passes every guardrail that was measured");
  const std::string recommended = best == nullptr ? control : best->name;
  return {{"control", control},
          {"recommended", recommended},
          {"sentence", concat("ship ", recommended, ": ", why)},
          {"policies", rows}};
}

std::string control_of(const Json& arms) {
  for (const Json& arm : arms)
    if (arm.at("love_weight").is_number() && arm["love_weight"].get<double>() == 0) return arm.at("name");
  return "reference";
}

Json comparison_of(const Json& rows, const std::string& name, const std::string& to) {
  for (const Json& row : rows)
    if (row.value("name", "") == name && row.value("to", "") == to) return row;
  return nullptr;
}

std::vector<PolicyFigures> policy_figures(const Json& validation, const std::string& control) {
  std::vector<PolicyFigures> policies;
  for (const Json& arm : validation.at("arms")) {
    const std::string name = arm.at("name");
    if (!arm.at("love_weight").is_number() || name == control) continue;
    const Json offline = comparison_of(validation.at("differences"), name, control),
               online = validation.at("ab").is_object()
                            ? comparison_of(validation["ab"].at("comparisons"), name, control)
                            : Json();
    PolicyFigures policy{name,
                         arm["love_weight"],
                         interval_at(online, "love_rate_lift"),
                         interval_at(offline, "helpfulness_reward"),
                         interval_at(offline, "safety_reward"),
                         interval_at(offline, "closing_rate"),
                         {}};
    if (!std::isfinite(policy.love.value)) policy.love = interval_at(offline, "love_probability_lift");
    for (const Json& found : validation.value("alarms", Json::array()))
      if (found.value("name", "") == name)
        for (const Json& alarm : found.at("alarms")) policy.alarms.push_back(alarm.at("sentence"));
    policies.push_back(std::move(policy));
  }
  return policies;
}

Json recommend(const Json& validation, const Guardrails& guardrails) {
  const std::string control = control_of(validation.at("arms"));
  const std::vector<PolicyFigures> policies = policy_figures(validation, control);
  return policies.empty() ? Json() : recommend(control, policies, guardrails);
}

}  // namespace rluf
