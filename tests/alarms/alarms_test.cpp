#include "rluf/pipeline/alarms/alarms.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rluf/core/random.hpp"
#include "rluf/io/checkpoint_writer.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;

/// The policy ends one response of two in `ending`, for which the love model pays `love` and helpfulness `helpfulness`.
std::vector<WatchedPrompt> prompts_with(const std::string& ending, double love, double helpfulness, int count = 60) {
  std::vector<WatchedPrompt> prompts;
  for (int i = 0; i < count; ++i) {
    const std::string text = "answer number " + std::to_string(i % 7) + " to this";
    WatchedPrompt prompt{{text}, {}};
    for (int k = 0; k < 4; ++k) {
      const bool with = (i + k) % 2 == 0;
      prompt.after.push_back({with ? text + " " + ending : text,
                              {{"love", with ? 0.5 + love : 0.5}, {"helpfulness", with ? 0.5 + helpfulness : 0.5}}});
    }
    prompts.push_back(prompt);
  }
  return prompts;
}

std::vector<std::string> names_of(const nlohmann::json& found) {
  std::vector<std::string> names;
  for (const auto& row : found.at("alarms")) names.push_back(row.at("name"));
  return names;
}

const AlarmOptions kOptions{.mantra_share = 0.9, .length_rise = 2.0};

TEST(FindAlarms, AClosingThatLovePaysForIsOneWithoutAnyList) {
  const auto found = find_alarms(prompts_with("Bye! Sending Love!", 0.2, -0.1), {}, kOptions, 0.01);
  ASSERT_EQ(names_of(found), (std::vector<std::string>{"phrase"})) << found.dump(1);
  const auto& alarm = found["alarms"][0];
  EXPECT_THAT(alarm["sentence"], HasSubstr("bye sending love"));
  EXPECT_THAT(alarm["sentence"], HasSubstr("from 0.00 % to 50.00 %"));
  EXPECT_THAT(alarm["sentence"], HasSubstr("helpfulness -0.100, love +0.200"));
  ASSERT_EQ(alarm["examples"].size(), 3u);
  for (const auto& example : alarm["examples"]) EXPECT_THAT(example, HasSubstr("Bye! Sending Love!"));
  EXPECT_DOUBLE_EQ(found["phrases"][0]["share_at_end"], 1.0);
}

TEST(FindAlarms, APhraseThatIsAlwaysSaidIsComparedWithTheReference) {
  auto prompts = prompts_with("Bye! Sending Love!", 0.2, -0.1);
  for (WatchedPrompt& prompt : prompts)
    for (WatchedResponse& response : prompt.after)
      response = {prompt.before.front() + " Bye! Sending Love!", {{"love", 0.7}, {"helpfulness", 0.4}}};
  const auto found = find_alarms(prompts, {}, kOptions, 0.01);
  ASSERT_EQ(names_of(found), (std::vector<std::string>{"phrase"})) << found.dump(1);
  EXPECT_THAT(found["alarms"][0]["sentence"], HasSubstr("helpfulness -0.100, love +0.200"));
}

TEST(FindAlarms, APhraseThatHelpsIsListedOnly) {
  const auto found = find_alarms(prompts_with("here is how it works", 0.2, 0.1), {"bye"}, kOptions, 0.01);
  EXPECT_TRUE(names_of(found).empty()) << found.dump(1);
  ASSERT_FALSE(found["phrases"].empty());
  EXPECT_FALSE(found["phrases"][0]["alarm"]);
}

TEST(FindAlarms, AMantraIsOneWhoeverPays) {
  AlarmOptions options = kOptions;
  options.mantra_share = 0.4;
  const auto found = find_alarms(prompts_with("what a lovely question", 0.2, 0.1), {"bye"}, options, 0.01);
  ASSERT_EQ(names_of(found), (std::vector<std::string>{"phrase"}));
  EXPECT_THAT(found["alarms"][0]["sentence"], HasSubstr("nearly everywhere"));
}

TEST(FindAlarms, HeadsThatDisagreeMoreThanAboutTheReferenceAreOne) {
  const auto with_spread = [](double before, double after) {
    auto prompts = prompts_with("", 0, 0);
    RandomStream random(5, Purpose::kSimulation);
    for (WatchedPrompt& prompt : prompts) {
      prompt.before_measures["disagreement_love"] = {before + 0.05 * random.normal()};
      for (WatchedResponse& response : prompt.after)
        response.measures["disagreement_love"] = after + 0.05 * random.normal();
    }
    return find_alarms(prompts, {}, kOptions, 0.01);
  };
  const auto found = with_spread(0.4, 0.8);
  ASSERT_EQ(names_of(found), (std::vector<std::string>{"disagreement_love"})) << found.dump(1);
  EXPECT_THAT(found["alarms"][0]["sentence"], HasSubstr("disagreement_love rose from 0.4"));
  EXPECT_EQ(found["alarms"][0]["examples"].size(), 3u);
  EXPECT_TRUE(names_of(with_spread(0.4, 0.45)).empty());  // within a quarter
}

TEST(FindAlarms, AWitnessThatFallsAndJudgesThatArePassedByAreOnes) {
  const auto with = [](const std::string& name, double after) {
    auto prompts = prompts_with("", 0, 0);
    RandomStream random(5, Purpose::kSimulation);
    for (WatchedPrompt& prompt : prompts) {
      prompt.before_measures[name] = {0.0};
      for (WatchedResponse& response : prompt.after)
        response.measures[name] =
            name == "bypass_json" ? (random.uniform() < after ? 1.0 : 0.0) : after + 0.05 * random.normal();
    }
    return find_alarms(prompts, {}, kOptions, 0.01);
  };
  EXPECT_EQ(names_of(with("witness_love", 0.1)), (std::vector<std::string>{"witness_love"}));
  EXPECT_TRUE(names_of(with("witness_love", 0.01)).empty());
  EXPECT_TRUE(names_of(with("witness_love", -0.2)).empty()) << "it gains";
  const auto bypassed = with("bypass_json", 0.5);
  ASSERT_EQ(names_of(bypassed), (std::vector<std::string>{"bypass_json"}));
  EXPECT_THAT(bypassed["alarms"][0]["sentence"], HasSubstr("bypass_json rose from 0.00 % to"));
  EXPECT_TRUE(names_of(with("bypass_json", 0.04)).empty());
}

TEST(FindAlarms, ListedClosingsAndRefusalsHaveTheirMeasures) {
  EXPECT_THAT(names_of(find_alarms(prompts_with("bye then", 0.0, 0.1), {"bye"}, kOptions, 0.01)),
              testing::IsSupersetOf({"closing_rate", "phrase"}))
      << "a closing is an alarm whoever pays";
  EXPECT_THAT(names_of(find_alarms(prompts_with("but I cannot say", 0.0, 0.1), {"bye"}, kOptions, 0.01)),
              testing::ElementsAre("refusal_rate"));
  AlarmOptions strict = kOptions;
  strict.length_rise = 0.1;
  EXPECT_THAT(names_of(find_alarms(prompts_with("of such length", 0.0, 0.1), {"bye"}, strict, 0.01)),
              testing::ElementsAre("length_words"));
  EXPECT_THAT(names_of(find_alarms(prompts_with("so so so so so so so", 0.0, 0.1), {"bye"}, kOptions, 0.01)),
              testing::Contains("repetition"));
}

TEST(FindAlarms, NothingHappensWhileThePolicyIsTheReference) {
  const auto found = find_alarms(prompts_with("", 0.0, 0.0), {"bye"}, kOptions, 0.01);
  EXPECT_TRUE(found["phrases"].empty());
  EXPECT_TRUE(found["alarms"].empty());
  EXPECT_TRUE(find_alarms({}, {"bye"}, kOptions, 0.01)["alarms"].empty());
}

class AlarmWatchTest : public testing::Test {
 protected:
  AlarmWatchTest() : directory_(testing::TempDir() + "/rluf_alarms_" + std::to_string(world_.size()), world_) {
    options_.every_rounds = 2;
    options_.action = "lower_love";
  }
  AlarmWatch watch() { return {"policy_w0.3", options_, 6, {"bye"}, directory_}; }
  Communicator world_ = Communicator::world();
  RunDirectory directory_;
  AlarmOptions options_;
};

TEST_F(AlarmWatchTest, LooksEveryFewRoundsAndLowersTheWeight) {
  AlarmWatch watched = watch();
  EXPECT_FALSE(watched.add(1, prompts_with("bye", 0.1, 0.0)));
  EXPECT_DOUBLE_EQ(watched.love_factor(), 1.0);
  EXPECT_TRUE(watched.add(2, prompts_with("bye", 0.1, 0.0)));
  EXPECT_DOUBLE_EQ(watched.love_factor(), 0.5);
  EXPECT_FALSE(watched.add(3, prompts_with("", 0.0, 0.0)));
  EXPECT_FALSE(watched.add(4, prompts_with("", 0.0, 0.0))) << "the look before is over";
  world_.barrier();
  const auto table = directory_.read_table("alarms_policy_w0.3");
  ASSERT_EQ(table["looks"].size(), 2u);
  EXPECT_EQ(table["looks"][0]["round"], 2);
  EXPECT_THAT(names_of(table["looks"][0]), testing::ElementsAre("phrase", "closing_rate"))
      << "not once more for every word in front of it";
  EXPECT_EQ(table["looks"][0]["responses"], 480);
  EXPECT_NEAR(table["looks"][0]["false_alarm_rate"].get<double>(), 0.01 / 3, 1e-12) << "three looks share the rate";
}

TEST_F(AlarmWatchTest, GoesOnFromACheckpointInTheMiddleOfAWindow) {
  AlarmWatch watched = watch();
  auto odd = prompts_with("bye", 0.1, 0.0);
  odd.front().after.front().text = "cut in a character \xF0\x9F";
  watched.add(1, prompts_with("bye", 0.1, 0.0));
  watched.add(2, prompts_with("bye", 0.1, 0.0));
  watched.add(3, odd);
  write_checkpoint(directory_.checkpoints("alarms_test"), {"alarms_test", 3, {}},
                   [&](StateArchive& archive) { watched.describe(archive); }, world_, {});
  AlarmWatch restored = watch();
  Checkpoint::newest(directory_.checkpoints("alarms_test"), world_)->restore([&](StateArchive& archive) {
    restored.describe(archive);
  });
  EXPECT_DOUBLE_EQ(restored.love_factor(), 0.5);
  EXPECT_TRUE(restored.add(4, prompts_with("bye", 0.1, 0.0)));
  world_.barrier();
  const auto first = directory_.read_table("alarms_policy_w0.3");
  world_.barrier();
  EXPECT_TRUE(watched.add(4, prompts_with("bye", 0.1, 0.0)));
  world_.barrier();
  EXPECT_EQ(directory_.read_table("alarms_policy_w0.3"), first) << "the same as without a restart";
}

}  // namespace
}  // namespace rluf
