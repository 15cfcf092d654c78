#include "rluf/pipeline/validation/ab_log.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/signals/interaction.hpp"
#include "rluf/statistics/power.hpp"

namespace rluf {
namespace {

constexpr std::size_t kFewestUsers = 20;

/// What one user did.
struct UserSums {
  std::string arm;
  bool in_several_arms = false;
  double responses = 0, events = 0, responses_before = 0, events_before = 0, rows = 0;
  std::map<std::string, double> guardrails;
  std::map<std::string, std::pair<double, double>> segments;  ///< events, responses
};

Ratio ratio_of(const ArmSums& sums) { return ratio_of_sums(sums.numerators, sums.denominators); }

/// Each guardrail's change, as a share of the control's rate, and whether it can be called harmless.
Json guardrail_rows(const AbLogArm& treatment, const AbLogArm& control, const AbLogOptions& options) {
  Json rows = Json::array();
  std::vector<double> p;
  for (const auto& [name, events] : treatment.guardrails) {
    const Ratio now = ratio_of_sums(events, treatment.signal.denominators),
                base = ratio_of_sums(control.guardrails.at(name), control.signal.denominators);
    const RatioComparison change = compare_ratios(now, base);
    const double one =
        non_inferiority_p(now.value - base.value, now.variance + base.variance, options.guardrail_margin * base.value);
    p.push_back(std::isfinite(one) ? one : 1.0);
    rows.push_back({{"name", name},
                    {"rate", number_or_null(now.value)},
                    {"control_rate", number_or_null(base.value)},
                    {"lift", change.lift.to_json()},
                    {"p_harm", number_or_null(change.difference.value > 0 ? change.p / 2 : 1 - change.p / 2)}});
  }
  const std::vector<double> adjusted = holm_adjusted(p);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i]["p_non_inferior"] = p[i];
    rows[i]["p_holm"] = adjusted[i];
    rows[i]["harmless"] = adjusted[i] <= options.alpha;
  }
  return rows;
}

Json segment_rows(const AbLogArm& treatment, const AbLogArm& control, double alpha) {
  Json rows = Json::array();
  std::vector<double> p;
  for (const auto& [name, sums] : treatment.segments) {
    const auto base = control.segments.find(name);
    if (base == control.segments.end()) continue;
    const RatioComparison change = compare_ratios(ratio_of(sums), ratio_of(base->second));
    p.push_back(std::isfinite(change.p) ? change.p : 1.0);
    rows.push_back({{"name", name},
                    {"rate", number_or_null(ratio_of(sums).value)},
                    {"control_rate", number_or_null(ratio_of(base->second).value)},
                    {"lift", change.lift.to_json()},
                    {"p", p.back()}});
  }
  const std::vector<double> adjusted = benjamini_hochberg_adjusted(p);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i]["p_bh"] = adjusted[i];
    rows[i]["differs"] = adjusted[i] <= alpha;
  }
  return rows;
}

/// ship, do not ship or go on, and why.
Json verdict_of(const Json& row, const ChiSquare& ratio, const AbLogOptions& options) {
  const auto say = [](const char* verdict, const std::string& reason) {
    return Json{{"verdict", verdict}, {"reason", reason}};
  };
  if (ratio.p < 0.001)
    return say("do not ship", concat("users are not dealt as planned (p = ", ratio.p,
                                     "): something removes or moves users, so no comparison can be trusted"));
  for (const Json& guardrail : row.at("guardrails"))
    if (guardrail.at("p_harm").is_number() && guardrail["p_harm"].get<double>() <= options.alpha)
      return say("do not ship", concat(guardrail.at("name").get<std::string>(),
                                       " rose (one-sided p = ", guardrail["p_harm"].get<double>(), ")"));
  const Json& cuped = row.at("cuped");
  const double p = cuped.at("p").is_number() ? cuped["p"].get<double>() : 1.0;
  const double difference =
      cuped.at("difference").at("value").is_number() ? cuped["difference"]["value"].get<double>() : 0;
  if (p <= options.alpha && difference < 0) return say("do not ship", concat(options.signal, " fell (p = ", p, ")"));
  for (const Json& guardrail : row.at("guardrails"))
    if (!guardrail.at("harmless").get<bool>())
      return say("go on", concat("that ", guardrail.at("name").get<std::string>(), " did not rise by ",
                                 100 * options.guardrail_margin,
                                 " % is not shown yet (Holm p = ", guardrail.at("p_holm").get<double>(), ")"));
  if (p > options.alpha) return say("go on", concat("no change of ", options.signal, " is seen yet (p = ", p, ")"));
  return say("ship", concat(options.signal, " rose (p = ", p, ") and every guardrail holds"));
}

}  // namespace

void AbLogOptions::describe(OptionTable& table) {
  table.section("abtest", "A real A/B test, from its log: rluf abtest LOG.jsonl.gz.");
  table.add("control", &control, {.text = "name of the arm that the others are compared with", .allow_empty = true});
  table.add("arm_field", &arm_field, {.text = "field of a row that names its arm"});
  table.add("signal", &signal, {.text = "field of signals{} that is to rise"});
  table.add("guardrails", &guardrails, {.text = "fields of signals{} that must not rise", .allow_empty = true});
  table.add(
      "guardrail_margin", &guardrail_margin,
      {.text = "rise of a guardrail, as a share of the control's rate, that must be ruled out", .low = 0, .high = 10});
  table.add("start", &start,
            {.text = "rows before this time are the pre-period, which CUPED learns from", .unit = "seconds", .low = 0});
  table.add("shares", &shares,
            {.text = "planned shares of the arms in the order of their names; empty: equal",
             .low = 1e-6,
             .allow_empty = true});
  table.add("expected_lift", &expected_lift,
            {.text = "effect that the users needed and the always valid p are planned for", .low = 1e-4, .high = 100});
  table.add(
      "planned_users", &planned_users,
      {.text = "users of two arms at the planned end, where the always valid interval is narrowest; 0: those of now",
       .unit = "users",
       .low = 0});
  table.add("alpha", &alpha, {.text = "two-sided error", .low = 1e-6, .high = 0.5});
  table.add("power", &power, {.text = "power for the number of users needed", .low = 0.5, .high = 0.999999});
  table.add("output", &output, {.text = "the table as JSON goes here too", .allow_empty = true});
  table.add("gate", &gate, {.text = "exit code 4 unless every arm may be shipped"});
}

AbLog read_ab_log(const std::string& path, const AbLogOptions& options) {
  AbLog log;
  std::map<std::string, UserSums> users;
  double first = std::numeric_limits<double>::max(), last = std::numeric_limits<double>::lowest();
  for_each_row(path, 0, 1, [&](std::int64_t line, const Json& row) {
    UserSums& user = users[user_of(row, path, line)];
    const auto time = field<double>(row, "timestamp", path, line);
    const auto signals = field<Json>(row, "signals", path, line);
    const double event = signal_value(signals, options.signal, path, line);
    ++log.num_rows;
    if (time < options.start) {
      ++log.num_rows_before;
      user.responses_before += 1;
      user.events_before += event;
      return;
    }
    const auto arm = field<std::string>(row, options.arm_field, path, line);
    user.in_several_arms = user.in_several_arms || (!user.arm.empty() && user.arm != arm);
    user.arm = arm;
    user.rows += 1;
    user.responses += 1;
    user.events += event;
    for (const std::string& name : options.guardrails) user.guardrails[name] += signal_value(signals, name, path, line);
    if (row.contains("use_case")) {
      auto& [events, responses] = user.segments[field<std::string>(row, "use_case", path, line)];
      events += event;
      responses += 1;
    }
    first = std::min(first, time);
    last = std::max(last, time);
  });
  if (log.num_rows == log.num_rows_before)
    fail_data(concat(path, " holds no row of the test"), "the test is counted from its rows",
              log.num_rows > 0 ? "lower abtest.start" : "give another file");
  log.days = (last - first) / 86400;
  for (const auto& [id, user] : users) {
    if (user.in_several_arms) {
      ++log.num_users_of_several_arms;
      log.num_rows_of_several_arms += static_cast<std::int64_t>(user.rows);
    }
    if (user.in_several_arms || user.arm.empty()) continue;  // only in the pre-period
    AbLogArm& arm = log.arms[user.arm];
    arm.signal.numerators.push_back(user.events);
    arm.signal.denominators.push_back(user.responses);
    arm.signal.numerators_before.push_back(user.events_before);
    arm.signal.denominators_before.push_back(user.responses_before);
    for (const std::string& name : options.guardrails) arm.guardrails[name].push_back(user.guardrails.at(name));
    for (const auto& [name, sums] : user.segments) {
      arm.segments[name].numerators.push_back(sums.first);
      arm.segments[name].denominators.push_back(sums.second);
    }
  }
  std::erase_if(log.arms, [&](const auto& entry) {
    const bool is_small = entry.second.signal.numerators.size() < kFewestUsers;
    if (is_small) log.small_arms.push_back(entry.first);
    return is_small;
  });
  return log;
}

Json ab_log_table(const AbLog& log, const AbLogOptions& options) {
  std::string names;
  for (const auto& [name, arm] : log.arms) names += concat(names.empty() ? "" : ", ", name);
  if (!log.arms.contains(options.control))
    fail_input(concat("abtest.control = \"", options.control, "\" served nobody alone (", log.num_users_of_several_arms,
                      " users of several arms are left out)"),
               "the arms are compared with it", names.empty() ? "give a longer log" : concat("choose one of ", names));
  if (log.arms.size() < 2)
    fail_data(concat("the log has one arm only, ", names), "there is nothing to compare", "check abtest.arm_field");
  if (!options.shares.empty() && options.shares.size() != log.arms.size())
    fail_input(concat("abtest.shares has ", options.shares.size(), " numbers for ", log.arms.size(), " arms: ", names),
               "the sample ratio cannot be checked", "give one for each, in that order");
  const AbLogArm& control = log.arms.at(options.control);
  const Ratio base = ratio_of(control.signal);
  std::vector<std::int64_t> users;
  Json arms = Json::array(), comparisons = Json::array();
  for (const auto& [name, arm] : log.arms) {
    const Ratio rate = ratio_of(arm.signal);
    users.push_back(rate.num_users);
    arms.push_back({{"name", name},
                    {"users", rate.num_users},
                    {"responses", rate.denominator},
                    {"rate", rate_interval(rate, design_effect(base)).to_json()}});
  }
  const ChiSquare ratio = options.shares.empty() ? equal_shares_test(users) : shares_test(users, options.shares);
  for (const auto& [name, arm] : log.arms) {
    if (name == options.control) continue;
    const Ratio rate = ratio_of(arm.signal);
    const RatioComparison change = compare_ratios(rate, base, 1 - options.alpha);
    const AdjustedDifference adjusted = cuped_difference(arm.signal, control.signal, 1 - options.alpha);
    const double variance = rate.variance + base.variance, difference = rate.value - base.value;
    const auto now = static_cast<double>(rate.num_users + base.num_users);
    const double planned = options.planned_users > 0 ? static_cast<double>(options.planned_users) : now;
    Json row{{"name", name},
             {"difference", change.difference.to_json()},
             {"lift", change.lift.to_json()},
             {"lift_fieller", fieller_lift(rate, base, 1 - options.alpha).to_json()},
             {"p", number_or_null(change.p)},
             {"cuped",
              {{"difference", adjusted.difference.to_json()},
               {"p", number_or_null(adjusted.p)},
               {"variance_ratio", number_or_null(adjusted.variance_ratio)}}},
             {"any_time",
              {{"difference", confidence_sequence(difference, variance, now, planned, 1 - options.alpha).to_json()},
               {"p", number_or_null(always_valid_p(difference, variance, options.expected_lift * base.value))}}},
             {"guardrails", guardrail_rows(arm, control, options)},
             {"segments", segment_rows(arm, control, options.alpha)}};
    row["decision"] = verdict_of(row, ratio, options);
    comparisons.push_back(std::move(row));
  }
  const double per_user = base.denominator / static_cast<double>(base.num_users);
  const AbDesign test{.rate = base.value,
                      .responses_per_user = per_user,
                      .design_effect = design_effect(base),
                      .alpha = options.alpha,
                      .power = options.power};
  const double needed = users_for(test, options.expected_lift).treatment;
  // At the rate at which users joined so far.
  const double per_day = log.days > 0 ? static_cast<double>(base.num_users) / log.days : std::nan("");
  return {{"rows", log.num_rows},
          {"rows_before", log.num_rows_before},
          {"users_of_several_arms", log.num_users_of_several_arms},
          {"rows_of_several_arms", log.num_rows_of_several_arms},
          {"small_arms", log.small_arms},
          {"days", log.days},
          {"signal", options.signal},
          {"control", options.control},
          {"alpha", options.alpha},
          {"sample_ratio",
           {{"chi_square", ratio.statistic}, {"degrees_of_freedom", ratio.degrees_of_freedom}, {"p", ratio.p}}},
          {"design_effect", number_or_null(design_effect(base))},
          {"expected_lift", options.expected_lift},
          {"users_needed_per_arm", number_or_null(needed)},
          {"days_needed", number_or_null(needed / per_day)},
          {"arms", arms},
          {"comparisons", comparisons}};
}

}  // namespace rluf
