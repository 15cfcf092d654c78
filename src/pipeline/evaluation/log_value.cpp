#include "rluf/pipeline/evaluation/log_value.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/statistics/distributions.hpp"
#include "rluf/statistics/ratio.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

/// Observed responses and their scores by (stratum, arm); a stratum is a use case in a window.
class Cells {
 public:
  explicit Cells(const ServedLog& log)
      : num_arms_(log.arms.size()),
        counts_(log.use_cases.size() * static_cast<std::size_t>(log.num_windows) * num_arms_, 0.0),
        scores_(counts_.size(), 0.0),
        stratum_counts_(counts_.size() / num_arms_, 0.0),
        arm_counts_(num_arms_, 0.0),
        arm_scores_(num_arms_, 0.0),
        num_use_cases_(log.use_cases.size()) {
    for (const ServedResponse& row : log.rows) {
      const auto arm = static_cast<std::size_t>(row.arm);
      arm_counts_[arm] += 1;
      arm_scores_[arm] += row.score;
      if (!row.observed) continue;
      const std::size_t stratum = stratum_of(row);
      counts_[stratum * num_arms_ + arm] += 1;
      scores_[stratum * num_arms_ + arm] += row.score;
      stratum_counts_[stratum] += 1;
    }
  }
  std::size_t stratum_of(const ServedResponse& row) const {
    return static_cast<std::size_t>(row.window) * num_use_cases_ + static_cast<std::size_t>(row.use_case);
  }
  std::size_t num_strata() const { return stratum_counts_.size(); }
  std::size_t use_case_of(std::size_t stratum) const { return stratum % num_use_cases_; }
  double count(std::size_t stratum, std::size_t arm) const { return counts_[stratum * num_arms_ + arm]; }
  double count(std::size_t stratum) const { return stratum_counts_[stratum]; }
  /// 0 where nothing is observed.
  double share(std::size_t stratum, std::size_t arm) const {
    return count(stratum) > 0 ? count(stratum, arm) / count(stratum) : 0;
  }
  double mean_score(std::size_t stratum, std::size_t arm) const {
    return count(stratum, arm) > 0 ? scores_[stratum * num_arms_ + arm] / count(stratum, arm)
                                   : arm_scores_[arm] / arm_counts_[arm];
  }

 private:
  std::size_t num_arms_;
  std::vector<double> counts_, scores_, stratum_counts_, arm_counts_, arm_scores_;
  std::size_t num_use_cases_;
};

double chance_of(const ArmPolicy& policy, const Cells& cells, std::size_t stratum, std::size_t arm) {
  return policy.kind == PolicyKind::kLog ? cells.share(stratum, arm) : policy.chances[cells.use_case_of(stratum)][arm];
}

/// Why no estimator by weights can be trusted; empty if they can.
std::string weight_refusal(const PolicyValue& value, const LogOptions& options) {
  char text[200];
  if (value.unsupported > options.max_unsupported) {
    std::snprintf(text, sizeof text, "%.3g %% of its traffic is where its arms never served", 100 * value.unsupported);
    return text;
  }
  if (value.weights.effective < options.min_effective) {
    std::snprintf(text, sizeof text, "its weights leave %.0f effective responses, fewer than %g",
                  std::floor(value.weights.effective), options.min_effective);
    return text;
  }
  if (value.weights.largest_share > options.max_weight_share) {
    std::snprintf(text, sizeof text, "one response has %.3g %% of the weight", 100 * value.weights.largest_share);
    return text;
  }
  return "";
}

/// Where no event is seen the usual design effect of the log stands in.
Json interval_json(const std::string& estimator, const PolicyValue& value, double usual_effect) {
  if (const auto refused = value.refusals.find(estimator); refused != value.refusals.end())
    return {{"value", nullptr}, {"reason", refused->second}};
  const PolicyEstimate& estimate = value.estimates.at(estimator);
  if (estimator == "snips")  // a rate: its bounds stay within 0..1
    return rate_interval({.value = estimate.value,
                          .variance = estimate.variance(),
                          .num_users = estimate.num_users,
                          .denominator = value.weights.effective},
                         usual_effect)
        .to_json();
  return estimate.interval().to_json();
}

/// Why a policy has no estimate with a normal interval, as differences have; empty if it has.
std::string normal_refusal(const std::string& estimator, const PolicyValue& value) {
  const auto refused = value.refusals.find(estimator);
  const std::string reason = refused != value.refusals.end() ? refused->second
                             : estimator == "snips"          ? value.few_hearts
                                                             : "";
  return reason.empty() ? "" : concat(value.name, ": ", reason);
}

Json difference_json(const std::string& estimator, const PolicyValue& value, const PolicyValue& reference) {
  for (const PolicyValue* one : {&value, &reference})
    if (const std::string reason = normal_refusal(estimator, *one); !reason.empty())
      return {{"value", nullptr}, {"reason", reason}};
  return difference_of(value.estimates.at(estimator), reference.estimates.at(estimator)).interval().to_json();
}

/// Sums of w r and of w by user, of the observed responses.
ClusterSums user_sums(const std::vector<LoggedResponse>& rows, std::int64_t num_users) {
  ClusterSums sums{.numerators = std::vector<double>(static_cast<std::size_t>(num_users), 0.0),
                   .denominators = std::vector<double>(static_cast<std::size_t>(num_users), 0.0)};
  for (const LoggedResponse& row : rows) {
    if (!row.observed) continue;
    sums.numerators[static_cast<std::size_t>(row.user)] += row.weight * row.reward;
    sums.denominators[static_cast<std::size_t>(row.user)] += row.weight;
  }
  return sums;
}

void add_places(Json& rows, const std::vector<PolicyValue>& values, std::int64_t replicates, std::uint64_t seed) {
  std::vector<std::size_t> ranked;
  std::vector<ClusterSums> sums;
  for (std::size_t p = 0; p < values.size(); ++p) {
    if (values[p].kind == PolicyKind::kLog || !values[p].estimates.contains("snips")) continue;
    ranked.push_back(p);
    sums.push_back(values[p].weighted);
  }
  const auto standings = compare_ratios_of_clusters(sums, replicates, seed);
  for (std::size_t i = 0; i < ranked.size(); ++i) {
    rows[ranked[i]]["place"] = standings[i].place;
    rows[ranked[i]]["place_low"] = number_or_null(standings[i].place_low);
    rows[ranked[i]]["place_high"] = number_or_null(standings[i].place_high);
    rows[ranked[i]]["difference_to_best"] = standings[i].difference_to_best.to_json();
  }
}

/// The log's own mixture shows whether the love model's level is right; a line of text, or none.
std::string model_against_users(const Json& own) {
  const Json &model = own.at("dm"), &users = own.at("snips");
  if (!model.at("value").is_number() || !users.contains("low")) return "";
  if (model["value"] >= users["low"] && model["value"] <= users["high"]) return "";
  return concat("\n  - of the log's own mixture the love model says ", interval_text(model, 100, 3), ", users gave ",
                interval_text(users, 100, 3), ": the level of DM is not to be trusted");
}

/// "3 [1-9]", with the bounds of 95 % of the resamples.
std::string place_of(const Json& row) {
  if (!row.contains("place")) return "-";
  const std::string place = row["place"].dump();
  return row["place_low"].is_number() ? concat(place, " [", std::floor(row["place_low"].get<double>()), "-",
                                               std::ceil(row["place_high"].get<double>()), "]")
                                      : place;
}

}  // namespace

PolicyView view_of(const ServedLog& log, const ArmPolicy& policy, double largest_weight) {
  const Cells cells(log);
  std::vector<double> predicted(cells.num_strata(), 0.0), rare(predicted), unsupported(predicted);
  for (std::size_t stratum = 0; stratum < cells.num_strata(); ++stratum)
    for (std::size_t arm = 0; arm < log.arms.size(); ++arm) {
      const double chance = chance_of(policy, cells, stratum, arm);
      if (chance == 0) continue;
      predicted[stratum] += chance * cells.mean_score(stratum, arm);
      if (chance > largest_weight * cells.share(stratum, arm)) rare[stratum] += chance * cells.mean_score(stratum, arm);
      if (cells.count(stratum, arm) == 0) unsupported[stratum] += chance;
    }
  PolicyView view;
  double num_observed = 0;
  for (const ServedResponse& row : log.rows) {
    const std::size_t stratum = cells.stratum_of(row), arm = static_cast<std::size_t>(row.arm);
    const double share = cells.share(stratum, arm), chance = chance_of(policy, cells, stratum, arm);
    const double propensity = row.propensity > 0 && policy.kind != PolicyKind::kLog ? row.propensity : share;
    const double weight = propensity > 0 ? chance / propensity : 0;
    // A row knows the weight of its own arm; those of the others are of the shares of traffic.
    const double own = (weight > largest_weight ? 1.0 : 0.0) - (chance > largest_weight * share ? 1.0 : 0.0);
    view.responses.push_back({.user = row.user,
                              .weight = weight,
                              .observed = row.observed,
                              .reward = row.reward,
                              .score = row.score,
                              .predicted = cells.mean_score(stratum, arm),
                              .policy_predicted = predicted[stratum],
                              .rare_predicted = rare[stratum] + own * chance * cells.mean_score(stratum, arm)});
    if (!row.observed) continue;
    num_observed += 1;
    // A row that names its chance says that the arm might have served; only counted shares can be 0.
    if (!(row.propensity > 0)) view.unsupported += unsupported[stratum];
  }
  view.unsupported /= num_observed;
  return view;
}

PolicyValue value_of(const ServedLog& log, const ArmPolicy& policy, const LogOptions& options) {
  double num_observed = 0;
  for (const ServedResponse& row : log.rows) num_observed += row.observed ? 1 : 0;
  const double num_hidden = static_cast<double>(log.rows.size()) - num_observed;
  const double largest = options.switch_weight > 0 ? options.switch_weight : std::sqrt(num_observed);
  const PolicyView view = view_of(log, policy, largest);
  const std::vector<LoggedResponse>& rows = view.responses;
  PolicyValue value{.name = policy.name,
                    .kind = policy.kind,
                    .weights = weight_facts(rows),
                    .weighted = user_sums(rows, log.num_users),
                    .unsupported = view.unsupported,
                    .estimates = {},
                    .refusals = {}};
  for (const LoggedResponse& row : rows)
    if (row.observed && row.weight > largest) value.model_share += row.weight / num_observed;

  const std::string weights = weight_refusal(value, options);
  if (value.weights.num_events < options.min_hearts)
    value.few_hearts = concat(value.weights.num_events, " hearts, fewer than ", options.min_hearts);
  const std::string& few = value.few_hearts;
  const auto first_of = [](std::initializer_list<std::string> reasons) -> std::string {
    for (const std::string& reason : reasons)
      if (!reason.empty()) return reason;
    return "";
  };
  const std::string no_model = log.is_scored ? "" : "there is no love model";
  const std::string nothing_hidden = num_hidden > 0 ? "" : "every response of the log shows its signal";
  const auto add = [&](const char* name, const std::string& refusal, const auto& estimate) {
    if (refusal.empty())
      value.estimates[name] = estimate();
    else
      value.refusals[name] = refusal;
  };
  add("dm", no_model, [&] { return direct_method(rows, log.num_users); });
  add("ips", first_of({weights, few}), [&] { return importance_sampling(rows, log.num_users); });
  add("snips", weights, [&] { return self_normalized(rows, log.num_users); });
  add("dr", first_of({no_model, weights, few}), [&] { return doubly_robust(rows, log.num_users); });
  add("switch", first_of({no_model, few}), [&] { return switch_estimator(rows, log.num_users, largest); });
  add("switch_dr", first_of({no_model, few}), [&] { return switch_doubly_robust(rows, log.num_users, largest); });
  add("ppi", first_of({no_model, nothing_hidden, weights, few}), [&] {
    PredictionPowered powered = prediction_powered(rows, log.num_users, kNaN);
    value.lambda = powered.lambda;
    return std::move(powered.estimate);
  });
  return value;
}

Json log_table(const ServedLog& log, const std::vector<ArmPolicy>& policies, const std::vector<PolicyValue>& values,
               std::size_t reference, const LogOptions& options, std::int64_t bootstrap_replicates,
               std::uint64_t seed) {
  std::int64_t num_observed = 0, num_given = 0;
  for (const ServedResponse& row : log.rows) {
    num_observed += row.observed ? 1 : 0;
    num_given += row.propensity > 0 ? 1 : 0;
  }
  const PolicyEstimate whole = self_normalized(view_of(log, policies.front(), kInfinity).responses, log.num_users);
  const double usual_effect = design_effect({.value = whole.value,
                                             .variance = whole.variance(),
                                             .num_users = whole.num_users,
                                             .denominator = static_cast<double>(num_observed)});
  Json rows = Json::array();
  for (const PolicyValue& value : values) {
    Json estimators, differences;
    for (const char* name : {"dm", "ips", "snips", "dr", "switch", "switch_dr", "ppi"}) {
      estimators[name] = interval_json(name, value, usual_effect);
      if (&value != &values[reference]) differences[name] = difference_json(name, value, values[reference]);
    }
    rows.push_back({{"name", value.name},
                    {"kind", kind_name(value.kind)},
                    {"responses", value.weights.num_responses},
                    {"hearts", value.weights.num_events},
                    {"effective_responses", value.weights.effective},
                    {"largest_weight", value.weights.largest},
                    {"largest_weight_share", value.weights.largest_share},
                    {"unsupported", value.unsupported},
                    {"switch_model_share", value.model_share},
                    {"lambda", value.estimates.contains("ppi") ? Json(value.lambda) : Json(nullptr)},
                    {"estimators", estimators},
                    {"differences", differences}});
  }
  add_places(rows, values, bootstrap_replicates, seed);
  std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) {
    const auto place = [](const Json& row) { return row.contains("place") ? row["place"].get<double>() : 1e18; };
    if ((a["kind"] == "log") != (b["kind"] == "log")) return a["kind"] == "log";
    return place(a) < place(b);
  });
  return {{"rows", log.read},
          {"duplicates", log.duplicates},
          {"before_start", log.before_start},
          {"without_arm", log.without_arm},
          {"used", log.rows.size()},
          {"observed", num_observed},
          {"with_propensity", num_given},
          {"users", log.num_users},
          {"days", log.days()},
          {"use_cases", log.use_cases},
          {"windows", log.num_windows},
          {"arms", log.arms.size()},
          {"direct_model", log.is_scored},
          {"switch_weight",
           options.switch_weight > 0 ? options.switch_weight : std::sqrt(static_cast<double>(num_observed))},
          {"min_effective", options.min_effective},
          {"min_hearts", options.min_hearts},
          {"max_weight_share", options.max_weight_share},
          {"max_unsupported", options.max_unsupported},
          {"interval", "clustered by user, 95 %; weights taken as known; snips by Wilson's interval"},
          {"reference", values[reference].name},
          {"policies", rows}};
}

Json log_gate(const std::vector<PolicyValue>& values, std::size_t reference, double margin, double alpha) {
  const std::string estimator =
      values[reference].refusals.contains("dm") ? "snips" : "dr";  // without or with a love model
  Json rows = Json::array();
  for (const PolicyValue& value : values) {
    if (value.kind != PolicyKind::kFile || &value == &values[reference]) continue;
    double p = kNaN;
    std::string reason;
    for (const PolicyValue* one : {&value, &values[reference]})
      if (const std::string refusal = normal_refusal(estimator, *one); !refusal.empty() && reason.empty())
        reason = concat("it cannot be valued by ", estimator, " (", refusal, ")");
    if (reason.empty()) {
      const PolicyEstimate &after = value.estimates.at(estimator), &before = values[reference].estimates.at(estimator);
      PolicyEstimate least = before;  // what it must not fall to
      least.value *= 1 - margin;
      for (double& influence : least.influence) influence *= 1 - margin;
      const PolicyEstimate excess = difference_of(after, least);
      p = normal_upper(excess.value / std::sqrt(excess.variance()));
      char text[200];
      std::snprintf(text, sizeof text, "%s %.4f %% against %.4f %%, one-sided p = %.3g of a loss of %g %%",
                    estimator.c_str(), 100 * after.value, 100 * before.value, p, 100 * margin);
      reason = p <= alpha ? text : concat("a loss of love is not ruled out: ", text);
    }
    rows.push_back({{"name", value.name},
                    {"passes", p <= alpha},
                    {"reason", reason},
                    {"estimator", estimator},
                    {"p", number_or_null(p)}});
  }
  return {{"baseline", values[reference].name}, {"margin", margin}, {"alpha", alpha}, {"candidates", rows}};
}

std::string log_table_text(const Json& table) {
  std::string text = concat("evaluate: arms and policies by the log: ", table.at("observed").dump(), " responses of ",
                            table.at("users").dump(), " users, ", table.at("arms").dump(), " arms; left out ",
                            table.at("duplicates").dump(), " duplicates, ", table.at("before_start").dump(),
                            " before evaluate.log_start, ", table.at("without_arm").dump(),
                            " without an arm; per cent, 95 % over users");
  char line[400];
  std::snprintf(line, sizeof line, "\n  %-34s %10s %7s %6s %9s %8s", "", "place", "resp.", "hearts", "effective",
                "largest w");
  text += line;
  const std::vector<std::pair<const char*, const char*>> columns{
      {"dm", "DM"},  {"ips", "IPS"}, {"snips", "SNIPS"}, {"dr", "DR"}, {"switch", "SWITCH"}, {"switch_dr", "SWITCH-DR"},
      {"ppi", "PPI"}};
  for (const auto& [key, title] : columns) {
    std::snprintf(line, sizeof line, " %22s", title);
    text += line;
  }
  std::map<std::string, std::pair<std::set<std::string>, std::int64_t>> refusals;  // reason -> estimators, figures
  for (const Json& row : table.at("policies")) {
    std::snprintf(line, sizeof line, "\n  %-34.34s %10s %7lld %6lld %9.0f %8.4g",
                  row.at("name").get<std::string>().c_str(), place_of(row).c_str(),
                  row.at("responses").get<long long>(), row.at("hearts").get<long long>(),
                  row.at("effective_responses").get<double>(), row.at("largest_weight").get<double>());
    text += line;
    for (const auto& [key, title] : columns) {
      const Json& figure = row.at("estimators").at(key);
      std::snprintf(line, sizeof line, " %22s", interval_text(figure, 100, 3).c_str());
      text += line;
      if (!figure.contains("reason")) continue;
      auto& [titles, count] = refusals[figure["reason"].get<std::string>()];
      titles.insert(title);
      ++count;
    }
  }
  text += model_against_users(table.at("policies")[0].at("estimators"));
  for (const auto& [reason, refused] : refusals) {
    std::string titles;
    for (const std::string& title : refused.first) titles += (titles.empty() ? "" : ", ") + title;
    text += concat("\n  - ", refused.second, " figures (", titles, "): ", reason);
  }
  return text;
}

}  // namespace rluf
