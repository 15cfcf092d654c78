#include "rluf/pipeline/validation/sweep_plan.hpp"

#include <gtest/gtest.h>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;
using Rungs = std::vector<std::int64_t>;

TEST(SweepPlan, EveryCombinationOfTheValuesIsAPoint) {
  const auto points = sweep_points("", "policy.kl_max: 5 10;policy.closing_phrases : bye,ciao so/long ; ");
  ASSERT_EQ(points.size(), 4U);
  EXPECT_EQ(points[0].name, "1_kl_max_5_closing_phrases_bye_ciao");
  EXPECT_EQ(points[1].name, "2_kl_max_5_closing_phrases_so_long");
  EXPECT_EQ(points[3].name, "4_kl_max_10_closing_phrases_so_long");
  const std::vector<std::pair<std::string, std::string>> last{{"policy.kl_max", "10"},
                                                              {"policy.closing_phrases", "so/long"}};
  EXPECT_EQ(points[3].values, last);
}

TEST(SweepPlan, NothingThatVariesIsOnePoint) {
  const auto points = sweep_points("", "");
  ASSERT_EQ(points.size(), 1U);
  EXPECT_EQ(points[0].name, "1");
  EXPECT_TRUE(points[0].values.empty());
}

TEST(SweepPlan, SettingsByNameWithEveryCombination) {
  using Values = std::vector<std::pair<std::string, std::string>>;
  auto points = sweep_points(
      "plain: ; wary: policy.love_weights=0.1 policy.forbidden_phrases=what a  lovely, say bye alarms.action=stop", "");
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[0].name, "1_plain");
  EXPECT_TRUE(points[0].values.empty());
  EXPECT_EQ(points[1].name, "2_wary");
  EXPECT_EQ(points[1].setting, "wary");
  EXPECT_EQ(points[1].values, (Values{{"policy.love_weights", "0.1"},
                                      {"policy.forbidden_phrases", "what a lovely, say bye"},
                                      {"alarms.action", "stop"}}));
  EXPECT_EQ(*points[1].value_of("alarms.action"), "stop");
  EXPECT_EQ(points[0].value_of("alarms.action"), nullptr);
  points = sweep_points("plain: ; judged: judge.a.threshold=0.3", "policy.kl_max: 5 10");
  ASSERT_EQ(points.size(), 4U);
  EXPECT_EQ(points[1].name, "2_plain_kl_max_10");
  EXPECT_EQ(points[2].values, (Values{{"judge.a.threshold", "0.3"}, {"policy.kl_max", "5"}}));
  for (const auto& [settings, vary] : {std::pair{"a: kl_max=3", ""},
                                       {"a: word policy.kl_max=3", ""},
                                       {"a policy.kl_max=3", ""},
                                       {"a: ; a: ", ""},
                                       {"a: policy.kl_max=3 policy.kl_max=4", ""},
                                       {"a: policy.kl_max=3", "policy.kl_max: 4"}})
    EXPECT_THROW(sweep_points(settings, vary), Error) << settings;
}

TEST(SweepPlan, FirstRoundOfEachAlarm) {
  const auto look = [](int round, const std::vector<std::string>& names) {
    Json alarms = Json::array();
    for (const std::string& name : names) alarms.push_back({{"name", name}, {"sentence", name + " rose"}});
    return Json{{"round", round}, {"alarms", alarms}};
  };
  EXPECT_EQ(first_alarms({look(5, {}), look(10, {"phrase", "phrase"}), look(15, {"closing_rate", "phrase"})}),
            (Json{{{"name", "phrase"}, {"round", 10}, {"sentence", "phrase rose"}},
                  {{"name", "closing_rate"}, {"round", 15}, {"sentence", "closing_rate rose"}}}));
  EXPECT_TRUE(first_alarms(Json::array()).empty());
  const Json validation{{"arms",
                         {{{"name", "reference"}, {"closing_rate", 1}},
                          {{"name", "policy_w2.0"}, {"closing_rate", 2}, {"true_love_rate", 3}, {"kl", 4}}}}};
  EXPECT_EQ(held_out_figures(validation, "policy_w2.0"), (Json{{"closing_rate", 2}, {"true_love_rate", 3}}));
}

TEST(SweepPlan, RefusesWhatItCannotRead) {
  for (const auto& [text, part] : {std::pair{"policy.kl_max 5", "colon"},
                                   {"policy.kl_max:", "no values"},
                                   {"policy.kl_max: 5 5", "a value twice"},
                                   {"policy.kl_max: 5; policy.kl_max: 6", "stands there twice"}}) {
    try {
      sweep_points("", text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

TEST(SweepPlan, RungsEndWithAllRounds) {
  EXPECT_EQ(rung_rounds(40, 5, 0.5), (Rungs{5, 10, 20, 40}));
  EXPECT_EQ(rung_rounds(40, 6, 0.5), (Rungs{10, 20, 40}));
  EXPECT_EQ(rung_rounds(40, 0, 0.5), (Rungs{10, 20, 40}));
  EXPECT_EQ(rung_rounds(27, 1, 1.0 / 3), (Rungs{1, 3, 9, 27}));
  EXPECT_EQ(rung_rounds(7, 2, 0.5), (Rungs{2, 4, 7}));
  EXPECT_EQ(rung_rounds(1, 0, 0.5), (Rungs{1}));
  EXPECT_EQ(rung_rounds(2, 1, 0.9), (Rungs{2}));  // 0.9 of 2 is 2 again: there is no smaller rung
  EXPECT_THROW(rung_rounds(4, 5, 0.5), Error);
}

Json row(bool passes, Json love) { return {{"passes", passes}, {"love", {{"value", std::move(love)}}}}; }

TEST(SweepPlan, ThoseThatPassGoOnFirst) {
  const Json table{
      {"policies", {row(false, 0.9), row(true, 0.1), row(true, 0.3), row(true, nullptr), row(false, 0.2)}}};
  using Positions = std::vector<std::size_t>;
  EXPECT_EQ(survivors(table, 0.4), (Positions{2, 1}));
  EXPECT_EQ(survivors(table, 0.5), (Positions{2, 1, 3}));
  EXPECT_EQ(survivors(table, 0.1), (Positions{2}));
  EXPECT_EQ(survivors(table, 0.9), (Positions{2, 1, 3, 0, 4}));
  EXPECT_TRUE(survivors({{"policies", Json::array()}}, 0.5).empty());
}

}  // namespace
}  // namespace rluf
