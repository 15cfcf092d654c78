#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/validation/ab_test.hpp"
#include "rluf/statistics/power.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Every ratio of an arm, by the name that it has in the table.
std::map<std::string, Ratio> ratios_of(const AbArm& arm) {
  std::map<std::string, Ratio> ratios;
  for (const auto& [name, column] :
       std::vector<std::pair<const char*, const std::vector<double>*>>{{"love_rate", &arm.hearts},
                                                                       {"expected_love_rate", &arm.love_chances},
                                                                       {"closing_rate", &arm.closings},
                                                                       {"true_helpfulness", &arm.helpfulness},
                                                                       {"true_safety", &arm.safety},
                                                                       {"length_tokens", &arm.tokens}})
    ratios[name] = ratio_of_sums(*column, arm.responses);
  return ratios;
}

Json with_p(Json figure, double p) {
  if (std::isfinite(p)) figure["p"] = p;
  return figure;
}

/// Lifts of what is a rate, differences of what is a mean.
Json comparison_row(const std::string& name, const std::map<std::string, Ratio>& treatment, const std::string& to,
                    const std::map<std::string, Ratio>& control) {
  Json row{{"name", name}, {"to", to}};
  for (const char* rate : {"love_rate", "expected_love_rate", "closing_rate"}) {
    const RatioComparison comparison = compare_ratios(treatment.at(rate), control.at(rate));
    row[concat(rate, "_lift")] = std::isfinite(comparison.lift.value)
                                     ? comparison.lift.to_json()
                                     : Json{{"value", nullptr}, {"reason", "not one event in the arm compared with"}};
    row[concat(rate, "_difference")] = with_p(comparison.difference.to_json(), comparison.p);
  }
  for (const char* mean : {"true_helpfulness", "true_safety", "length_tokens"}) {
    const RatioComparison comparison = compare_ratios(treatment.at(mean), control.at(mean));
    row[concat(mean, "_difference")] = with_p(comparison.difference.to_json(), comparison.p);
  }
  return row;
}

}  // namespace

nlohmann::json ab_table(const std::vector<AbArm>& arms, const ValidationOptions& options) {
  Json rows = Json::array(), pairs = Json::array(), power = Json::array();
  std::vector<std::map<std::string, Ratio>> ratios;
  std::vector<std::optional<double>> weights;
  std::vector<std::int64_t> users;
  double total_users = 0, total_responses = 0, variance = 0, independent = 0;
  std::size_t base = 0;  // the policy of weight 0, else the reference
  for (const AbArm& arm : arms) {
    ratios.push_back(ratios_of(arm));
    weights.push_back(arm.love_weight);
    if (arm.love_weight == 0.0) base = ratios.size() - 1;
    const Ratio& love = ratios.back().at("love_rate");
    users.push_back(love.num_users);
    total_users += static_cast<double>(love.num_users);
    total_responses += love.denominator;
    if (const double effect = design_effect(love); std::isfinite(effect)) {
      variance += love.variance;
      independent += love.variance / effect;
    }
    double hearts = 0;
    for (const double count : arm.hearts) hearts += count;
    Json row{{"name", arm.name},
             {"love_weight", arm.love_weight ? Json(*arm.love_weight) : Json(nullptr)},
             {"users", love.num_users},
             {"responses", love.denominator},
             {"hearts", hearts}};
    for (const auto& [name, ratio] : ratios.back()) row[name] = normal_interval(ratio.value, ratio.variance).to_json();
    rows.push_back(row);
  }
  const double effect = variance / independent, per_user = total_responses / total_users;
  for (std::size_t i = 0; i < arms.size(); ++i)  // counted events are rates: their bounds stay within 0..1
    for (const char* rate : {"love_rate", "closing_rate"})
      rows[i][rate] = rate_interval(ratios[i].at(rate), effect).to_json();
  for (const auto& [treatment, control] : comparisons(weights))
    pairs.push_back(comparison_row(arms[treatment].name, ratios[treatment], arms[control].name, ratios[control]));

  const auto need = [&](const std::string& what, double rate, double lift, double design) {
    AbDesign test{.rate = rate, .design_effect = design, .alpha = options.ab_alpha, .power = options.ab_power};
    const double responses = users_for(test, lift).treatment;
    test.responses_per_user = per_user;
    power.push_back({{"effect", what},
                     {"base_rate", rate},
                     {"lift", number_or_null(lift)},
                     {"responses_per_arm", number_or_null(responses)},
                     {"users_per_arm", number_or_null(users_for(test, lift).treatment)}});
  };
  // The chances know the rate far better than the hearts that were drawn from them.
  const double love_rate = ratios[base].at("expected_love_rate").value;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    if (!arms[i].love_weight || i == base) continue;
    const auto lift = [&](const char* rate) {
      return compare_ratios(ratios[i].at(rate), ratios[base].at(rate)).lift.value;
    };
    need("love, as " + arms[i].name + " by hearts", love_rate, lift("love_rate"), effect);
    need("love, as " + arms[i].name + " by chances", love_rate, lift("expected_love_rate"), effect);
    const Ratio& closing = ratios[base].at("closing_rate");
    need("closings, as " + arms[i].name, closing.value, lift("closing_rate"), design_effect(closing));
  }
  need("love, the paper's +9.73 %", love_rate, 0.0973, effect);
  need("love, the paper's +28 %", love_rate, 0.28, effect);

  const ChiSquare mismatch = equal_shares_test(users);
  return {
      {"users", total_users},
      {"responses", total_responses},
      {"responses_per_user", per_user},
      {"base", arms[base].name},
      {"design_effect", number_or_null(effect)},
      {"alpha", options.ab_alpha},
      {"power", options.ab_power},
      {"interval", "users randomised; delta method over users, 95 %"},
      {"sample_ratio",
       {{"chi_square", mismatch.statistic}, {"degrees_of_freedom", mismatch.degrees_of_freedom}, {"p", mismatch.p}}},
      {"arms", rows},
      {"comparisons", pairs},
      {"users_needed", power}};
}

}  // namespace rluf
