// statistics_driver CASES.json OUT.json: estimates of the logs and sizes of the tests that the oracles made.
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "rluf/statistics/off_policy.hpp"
#include "rluf/statistics/power.hpp"

using namespace rluf;
using Json = nlohmann::json;

namespace {

Json figures(const PolicyEstimate& estimate) { return {estimate.value, estimate.variance()}; }

Json off_policy(const Json& log) {
  std::vector<LoggedResponse> rows;
  for (const Json& row : log.at("rows"))
    rows.push_back({.user = row[0],
                    .weight = row[1],
                    .observed = row[2].get<int>() == 1,
                    .reward = row[3],
                    .score = row[4],
                    .predicted = row[5],
                    .policy_predicted = row[6],
                    .rare_predicted = row[7]});
  const std::int64_t users = log.at("users");
  const PredictionPowered tuned = prediction_powered(rows, users, std::numeric_limits<double>::quiet_NaN());
  return {{"dm", figures(direct_method(rows, users))},
          {"ips", figures(importance_sampling(rows, users))},
          {"snips", figures(self_normalized(rows, users))},
          {"dr", figures(doubly_robust(rows, users))},
          {"switch", figures(switch_estimator(rows, users, log.at("tau")))},
          {"switch_dr", figures(switch_doubly_robust(rows, users, log.at("tau")))},
          {"ppi", figures(prediction_powered(rows, users, 1).estimate)},
          {"tuned", figures(tuned.estimate)},
          {"lambda", tuned.lambda},
          {"effective", weight_facts(rows).effective}};
}

Json power(const Json& one) {
  const AbDesign design{.rate = one.at("rate"),
                        .responses_per_user = one.at("responses_per_user"),
                        .design_effect = one.at("design_effect"),
                        .alpha = one.at("alpha"),
                        .power = one.at("power"),
                        .cuped_correlation = one.at("correlation"),
                        .control_share = one.at("control_share"),
                        .arms = one.at("arms")};
  const AbUsers users = users_for(design, one.at("lift"));
  return {{"users", {users.treatment, users.control, users.total}},
          {"power", power_with(design, one.at("lift"), one.at("total"))},
          {"detectable", detectable_lift(design, one.at("total"))}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const Json cases = Json::parse(std::ifstream(argv[1]));
  Json out{{"logs", Json::array()}, {"tests", Json::array()}};
  for (const Json& log : cases.value("logs", Json::array())) out["logs"].push_back(off_policy(log));
  for (const Json& one : cases.value("tests", Json::array())) out["tests"].push_back(power(one));
  std::ofstream(argv[2]) << out;
}
