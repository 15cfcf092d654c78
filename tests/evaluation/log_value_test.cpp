// What policies over arms are worth: by hand on a log of few cells, by truth in a simulated world, and refusals.
#include "rluf/pipeline/evaluation/log_value.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;

ServedLog empty_log() {
  ServedLog log;
  log.arms = {"older", "newer"};
  log.use_cases = {"chat", "code"};
  log.is_scored = true;
  return log;
}

void add(ServedLog& log, int arm, int use_case, double reward, double score, double propensity = 0) {
  log.rows.push_back({.user = log.num_users++,
                      .arm = arm,
                      .use_case = use_case,
                      .observed = true,
                      .reward = reward,
                      .score = score,
                      .propensity = propensity,
                      .timestamp = std::ssize(log.rows)});
  ++log.read;
}

/// Options that refuse nothing.
LogOptions open() { return {.min_effective = 1, .max_weight_share = 1, .max_unsupported = 1, .min_hearts = 1}; }

/// chat: old 3 rows, new 1; code: old 1, new 1.
ServedLog small_log() {
  ServedLog log = empty_log();
  add(log, 0, 0, 1, 0.2);
  add(log, 0, 0, 0, 0.2);
  add(log, 0, 0, 0, 0.5);
  add(log, 1, 0, 1, 0.6);
  add(log, 0, 1, 0, 0.1);
  add(log, 1, 1, 1, 0.8);
  return log;
}

TEST(LogValue, HandValues) {
  const ServedLog log = small_log();
  const auto policies = arm_policies(log, "");
  ASSERT_EQ(policies.size(), 3u);
  EXPECT_EQ(policies[1].name, "newer");
  const PolicyView view = view_of(log, policies[1], 3);
  EXPECT_EQ(view.responses[0].weight, 0);
  EXPECT_EQ(view.responses[3].weight, 4);
  EXPECT_EQ(view.responses[5].weight, 2);
  EXPECT_DOUBLE_EQ(view.responses[0].predicted, 0.3);
  EXPECT_DOUBLE_EQ(view.responses[0].policy_predicted, 0.6);
  EXPECT_DOUBLE_EQ(view.responses[0].rare_predicted, 0.6) << "the policy's arm has the weight 4 in chat";
  EXPECT_DOUBLE_EQ(view.responses[5].rare_predicted, 0) << "and 2 in code";
  const PolicyValue value = value_of(log, policies[1], open());
  EXPECT_DOUBLE_EQ(value.estimates.at("dm").value, (4 * 0.6 + 2 * 0.8) / 6);
  EXPECT_DOUBLE_EQ(value.estimates.at("ips").value, 1);
  EXPECT_DOUBLE_EQ(value.estimates.at("snips").value, 1);
  EXPECT_DOUBLE_EQ(value.estimates.at("dr").value, 1);
  EXPECT_DOUBLE_EQ(value.weights.effective, 36.0 / 20);
  // sqrt(6) = 2.45 lies between the weights: the model stands in for chat.
  EXPECT_DOUBLE_EQ(value.model_share, 4.0 / 6);
  EXPECT_DOUBLE_EQ(value.estimates.at("switch_dr").value, (4 * 0.6 + 2 * 1.0) / 6);
  EXPECT_DOUBLE_EQ(value.estimates.at("switch").value, (4 * 0.6 + 2 * 1.0) / 6) << "the code's heart has the weight 2";
  EXPECT_THAT(value.refusals.at("ppi"), HasSubstr("shows its signal"));
  EXPECT_DOUBLE_EQ(value_of(log, policies[0], open()).estimates.at("dr").value, 0.5);
}

TEST(LogValue, ChancesOfTheRowsReplaceSharesOfTraffic) {
  ServedLog log = small_log();
  for (ServedResponse& row : log.rows) row.propensity = row.arm == 1 ? 0.25 : 0.75;
  const PolicyValue value = value_of(log, arm_policies(log, "")[1], open());
  EXPECT_DOUBLE_EQ(value.estimates.at("ips").value, 8.0 / 6);
  EXPECT_DOUBLE_EQ(value.estimates.at("snips").value, 1);
  // The weight 4 of both hearts is above sqrt(6), and the rows of the other arm see the shares of traffic.
  EXPECT_DOUBLE_EQ(value.estimates.at("switch").value, (4 * 0.6 + 0 + 0.8) / 6);
  // The direct model corrects: mean of 0.667 and the weighted errors 4 * 0.4 and 4 * 0.2.
  EXPECT_DOUBLE_EQ(value.estimates.at("dr").value, 4.0 / 6 + (4 * 0.4 + 4 * 0.2) / 6);
}

TEST(LogValue, WindowsHaveSharesOfTheirOwn) {
  ServedLog log = empty_log();
  log.use_cases = {"chat"};
  log.num_windows = 2;
  for (int i = 0; i < 20; ++i) {
    add(log, i % 4 == 0, 0, 1, 0.5);
    log.rows.back().window = 0;
    add(log, i % 4 != 0, 0, 0, 0.5);
    log.rows.back().window = 1;
  }
  EXPECT_DOUBLE_EQ(value_of(log, arm_policies(log, "")[1], open()).estimates.at("snips").value, 0.5);
  log.num_windows = 1;  // hearts go down with time as the traffic of "newer" goes up
  for (ServedResponse& row : log.rows) row.window = 0;
  EXPECT_DOUBLE_EQ(value_of(log, arm_policies(log, "")[1], open()).estimates.at("snips").value, 0.25);
}

TEST(LogValue, RefusesWhereWeightsExplode) {
  ServedLog log = empty_log();
  for (int i = 0; i < 4000; ++i) add(log, 0, i % 2, i % 20 == 0, 0.05);
  for (int i = 0; i < 50; ++i) add(log, 1, 0, i % 10 == 0, 0.1);
  const auto policies = arm_policies(log, "");
  const PolicyValue fresh = value_of(log, policies[1], {});
  EXPECT_NEAR(fresh.unsupported, 2000.0 / 4050, 1e-12) << "it never served code";
  for (const char* name : {"ips", "snips", "dr"}) EXPECT_THAT(fresh.refusals.at(name), HasSubstr("never served"));
  EXPECT_THAT(fresh.refusals.at("switch_dr"), HasSubstr("5 hearts, fewer than 10"));
  EXPECT_NEAR(fresh.estimates.at("dm").value, 0.1, 1e-12);
  LogOptions options;
  options.max_unsupported = 1;
  EXPECT_THAT(value_of(log, policies[1], options).refusals.at("snips"), HasSubstr("50 effective responses"));
  options.min_effective = 10;
  options.max_weight_share = 0.01;
  EXPECT_THAT(value_of(log, policies[1], options).refusals.at("snips"), HasSubstr("2 % of the weight"));
  options.max_weight_share = 0.1;
  EXPECT_TRUE(value_of(log, policies[1], options).estimates.contains("snips"));
  EXPECT_TRUE(value_of(log, policies[2], {}).estimates.contains("dr"));
  log.is_scored = false;
  EXPECT_THAT(value_of(log, policies[2], {}).refusals.at("dr"), HasSubstr("no love model"));
  EXPECT_TRUE(value_of(log, policies[2], {}).estimates.contains("ips"));
}

/// The arm "newer" is better at code and worse at chat; traffic is split unevenly, and the love model sees little.
ServedLog world(std::uint64_t number, int num_users = 1500) {
  ServedLog log = empty_log();
  RandomStream random(21, Purpose::kSimulation, number);
  for (int user = 0; user < num_users; ++user) {
    const double taste = 0.5 + random.uniform();
    const auto count = 1 + random.below(4);
    for (std::uint64_t k = 0; k < count; ++k) {
      const int use_case = random.uniform() < 0.4, arm = random.uniform() < (use_case == 1 ? 0.2 : 0.5);
      const double chance = use_case == arm ? 0.2 : 0.1;
      const bool heart = random.uniform() < taste * chance;
      add(log, arm, use_case, heart ? 1 : 0, 0.1 + 0.1 * random.uniform() + (heart ? 0.6 : 0));
      log.rows.back().user = user;
    }
    log.num_users = user + 1;
  }
  return log;
}

ArmPolicy routing() { return {.name = "route", .kind = PolicyKind::kFile, .chances = {{1, 0}, {0, 1}}}; }
ArmPolicy worst() { return {.name = "worst", .kind = PolicyKind::kFile, .chances = {{0, 1}, {1, 0}}}; }

TEST(LogValue, IntervalsHoldTheTruthOfAPolicyThatNeverServed) {
  int covered = 0, difference_covered = 0;
  for (std::uint64_t number = 0; number < 200; ++number) {
    const ServedLog log = world(number);
    auto policies = arm_policies(log, "");
    policies.push_back(routing());
    const PolicyValue value = value_of(log, policies.back(), {}), now = value_of(log, policies.front(), {});
    const Interval interval = value.estimates.at("dr").interval(),
                   difference = difference_of(value.estimates.at("dr"), now.estimates.at("dr")).interval();
    covered += interval.low <= 0.2 && 0.2 <= interval.high;
    // The log: chat 0.15, code 0.8 * 0.1 + 0.2 * 0.2.
    const double truth = 0.2 - (0.6 * 0.15 + 0.4 * 0.12);
    difference_covered += difference.low <= truth && truth <= difference.high;
  }
  EXPECT_GT(covered, 178);
  EXPECT_GT(difference_covered, 178);
}

TEST(LogValue, TableRanksAndComparesInPairs) {
  const ServedLog log = world(3);
  auto policies = arm_policies(log, "");
  policies.push_back(routing());
  std::vector<PolicyValue> values;
  for (const ArmPolicy& policy : policies) values.push_back(value_of(log, policy, {}));
  const Json table = log_table(log, policies, values, 0, {}, 200, 1);
  ASSERT_EQ(table["policies"].size(), 4u);
  EXPECT_EQ(table["policies"][0]["name"], kLogPolicy);
  EXPECT_EQ(table["policies"][1]["name"], "route");
  EXPECT_EQ(table["policies"][1]["place_high"], 1);
  const Json& route = table["policies"][1];
  for (const char* name : {"dm", "ips", "snips", "dr", "switch", "switch_dr"})
    EXPECT_LT(route["estimators"][name]["low"], route["estimators"][name]["high"]) << name;
  EXPECT_TRUE(route["estimators"]["ppi"].contains("reason"));
  EXPECT_GT(route["differences"]["dr"]["low"], 0);
  EXPECT_TRUE(table["policies"][0]["differences"].is_null());
  EXPECT_THAT(log_table_text(table), HasSubstr("route"));
  EXPECT_THAT(log_table_text(table), HasSubstr("every response of the log shows its signal"));
  EXPECT_THAT(log_table_text(table), HasSubstr("the level of DM is not to be trusted")) << "its scores are too high";
}

TEST(LogValue, PredictionsOfHiddenSignalsNarrowTheInterval) {
  ServedLog log = world(5, 4000);
  RandomStream random(22, Purpose::kSimulation);
  for (ServedResponse& row : log.rows)
    if (random.uniform() < 0.8) {
      row.observed = false;
      row.reward = 0;
    }
  const PolicyValue value = value_of(log, arm_policies(log, "")[2], {});
  EXPECT_GT(value.lambda, 0.5);
  EXPECT_LT(value.estimates.at("ppi").variance(), 0.8 * value.estimates.at("snips").variance());
}

TEST(LogValue, GateKnowsBetterFromWorse) {
  const ServedLog log = world(7, 6000);
  auto policies = arm_policies(log, "");
  policies.push_back(routing());
  policies.push_back(worst());
  std::vector<PolicyValue> values;
  for (const ArmPolicy& policy : policies) values.push_back(value_of(log, policy, {}));
  Json gate = log_gate(values, 0, 0.05, 0.05);
  ASSERT_EQ(gate["candidates"].size(), 2u);
  EXPECT_TRUE(gate["candidates"][0]["passes"].get<bool>()) << gate;
  EXPECT_FALSE(gate["candidates"][1]["passes"].get<bool>()) << gate;
  EXPECT_THAT(gate["candidates"][1]["reason"], HasSubstr("a loss of love is not ruled out: dr "));
  values[3].estimates.erase("dr");
  values[3].refusals["dr"] = "its weights explode";
  gate = log_gate(values, 0, 0.05, 0.05);
  EXPECT_FALSE(gate["candidates"][0]["passes"].get<bool>());
  EXPECT_THAT(gate["candidates"][0]["reason"], HasSubstr("cannot be valued by dr (route: its weights explode)"));
}

class PolicyFile : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::vector<ArmPolicy> read(const std::string& text) {
    write_text(path_, text);
    return arm_policies(small_log(), path_);
  }
  std::string error(const std::string& text) {
    try {
      read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
      return error.what();
    }
    return "no error";
  }
  std::string path_ =
      (std::filesystem::temp_directory_path() / ("rluf_policies_" + std::to_string(getpid()) + ".json")).string();
};

TEST_F(PolicyFile, NamesArmsAndMixturesByUseCase) {
  const auto policies =
      read(R"({"everything": "newer", "by use": {"code": "newer", "*": {"older": 0.9, "newer": 0.1}}})");
  ASSERT_EQ(policies.size(), 5u);
  EXPECT_EQ(policies[4].chances, (std::vector<std::vector<double>>{{0, 1}, {0, 1}}));
  EXPECT_EQ(policies[3].chances, (std::vector<std::vector<double>>{{0.9, 0.1}, {0, 1}}));
}

TEST_F(PolicyFile, SaysWhatIsWrong) {
  EXPECT_THAT(error(R"({"a": "newr"})"), HasSubstr("did you mean newer?"));
  EXPECT_THAT(error(R"({"a": {"cod": "newer", "*": "older"}})"), HasSubstr("did you mean code?"));
  EXPECT_THAT(error(R"({"a": {"code": "newer"}})"), HasSubstr("says nothing of the use case chat"));
  EXPECT_THAT(error(R"({"a": {"*": {"older": 0.5, "newer": 0.6}}})"), HasSubstr("add up to 1.1"));
  EXPECT_THAT(error(R"({"a": {"*": {"older": -1, "newer": 2}}})"), HasSubstr("no number from 0 to 1"));
  EXPECT_THAT(error(R"({"newer": "older"})"), HasSubstr("is the name of an arm"));
  EXPECT_THAT(error("[]"), HasSubstr("no JSON object"));
}

}  // namespace
}  // namespace rluf
