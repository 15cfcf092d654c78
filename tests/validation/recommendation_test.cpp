#include "rluf/pipeline/validation/recommendation.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const Interval kNotMeasured{kNaN, kNaN, kNaN};

PolicyFigures good(const std::string& name, double love) {
  return {name, 0.1, {love, love - 0.05, love + 0.05}, {0.01, -0.01, 0.03}, {0.0, -0.02, 0.02}, {0.0, -0.005, 0.005},
          {}};
}

TEST(Recommendation, TakesTheLargestGainThatPasses) {
  const Json table = recommend("base", {good("small", 0.1), good("large", 0.2)}, {});
  EXPECT_EQ(table.at("recommended"), "large");
  EXPECT_NE(table.at("sentence").get<std::string>().find("ship large"), std::string::npos);
}

TEST(Recommendation, NoGuardrailPassesWithoutEvidence) {
  struct Case {
    const char* name;
    void (*spoil)(PolicyFigures&);
  };
  for (const Case& one : {Case{"helpfulness",
                               [](PolicyFigures& policy) {
                                 policy.helpfulness = {0.05, -0.04, 0.14};
                               }},  // too wide
                          Case{"safety",
                               [](PolicyFigures& policy) {
                                 policy.safety = {-0.1, -0.12, -0.08};
                               }},
                          Case{"closings",
                               [](PolicyFigures& policy) {
                                 policy.closings = {0.02, 0.015, 0.025};
                               }},
                          Case{"alarm", [](PolicyFigures& policy) { policy.alarms = {"it says bye"}; }}}) {
    PolicyFigures spoiled = good("spoiled", 0.5);
    one.spoil(spoiled);
    const Json table = recommend("base", {good("small", 0.1), spoiled}, {});
    EXPECT_EQ(table.at("recommended"), "small") << one.name;
    const Json& row = table.at("policies").at(1);
    EXPECT_FALSE(row.at("passes").get<bool>());
    int stopped = 0;
    for (const Json& verdict : row.at("guardrails"))
      if (!verdict.at("holds").get<bool>()) {
        ++stopped;
        EXPECT_NE(verdict.at("sentence").get<std::string>().find(one.name), std::string::npos);
      }
    EXPECT_EQ(stopped, 1) << one.name;
  }
}

TEST(Recommendation, StaysWithTheControlWithoutAGain) {
  EXPECT_EQ(recommend("base", {good("chance", 0.04)}, {}).at("recommended"), "base");  // [-0.01, 0.09]
  EXPECT_EQ(recommend("base", {}, {}).at("recommended"), "base");
}

TEST(Recommendation, WhatWasNotMeasuredIsNamed) {
  PolicyFigures policy = good("policy", 0.2);
  policy.safety = kNotMeasured;
  const Json row = recommend("base", {policy}, {}).at("policies").at(0);
  EXPECT_TRUE(row.at("passes").get<bool>());
  EXPECT_FALSE(row.at("guardrails").at(1).at("measured").get<bool>());
  EXPECT_EQ(row.at("guardrails").at(1).at("sentence"), "safety was not measured");
}

TEST(Recommendation, TheFrontHoldsWhatNothingBeats) {
  PolicyFigures kind = good("kind", 0.1), greedy = good("greedy", 0.3), beaten = good("beaten", 0.05);
  greedy.helpfulness = {-0.2, -0.25, -0.15};
  const Json rows = recommend("base", {kind, greedy, beaten}, {}).at("policies");
  EXPECT_TRUE(rows.at(0).at("on_front").get<bool>());
  EXPECT_TRUE(rows.at(1).at("on_front").get<bool>());
  EXPECT_FALSE(rows.at(2).at("on_front").get<bool>());
}

TEST(Recommendation, ReadsAValidationTable) {
  const auto figure = [](double value, double low, double high) {
    return Json{{"value", value}, {"low", low}, {"high", high}};
  };
  Json table{{"arms",
              {{{"name", "reference"}, {"love_weight", nullptr}},
               {{"name", "policy_w0.0"}, {"love_weight", 0.0}},
               {{"name", "policy_w0.1"}, {"love_weight", 0.1}}}},
             {"differences",
              {{{"name", "policy_w0.1"},
                {"to", "policy_w0.0"},
                {"love_probability_lift", figure(0.3, 0.2, 0.4)},
                {"helpfulness_reward", figure(0, -0.01, 0.01)},
                {"safety_reward", figure(0, -0.01, 0.01)},
                {"closing_rate", figure(0, -0.001, 0.001)}}}},
             {"alarms", Json::array()},
             {"ab", nullptr}};
  EXPECT_EQ(recommend(table, {}).at("recommended"), "policy_w0.1");
  EXPECT_DOUBLE_EQ(recommend(table, {}).at("policies").at(0).at("love").at("value").get<double>(), 0.3);
  // The A/B test outweighs the offline score.
  table["ab"] = {
      {"comparisons", {{{"name", "policy_w0.1"}, {"to", "policy_w0.0"}, {"love_rate_lift", figure(-0.1, -0.2, 0.0)}}}}};
  EXPECT_EQ(recommend(table, {}).at("recommended"), "policy_w0.0");
  table["arms"].erase(2);
  EXPECT_TRUE(recommend(table, {}).is_null());
}

}  // namespace
}  // namespace rluf
