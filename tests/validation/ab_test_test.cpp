// Who meets which arm, how often, and what the table makes of sums that are known.
#include "rluf/pipeline/validation/ab_test.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "rluf/statistics/power.hpp"

namespace rluf {
namespace {

TEST(Dealing, IsUniformAndBelongsToTheUser) {
  std::vector<std::int64_t> counts(4);
  std::int64_t moved = 0;
  for (std::int64_t user = 0; user < 20000; ++user) {
    const std::int64_t arm = arm_of_user(user, 4, 7);
    ASSERT_EQ(arm, arm_of_user(user, 4, 7));
    counts.at(static_cast<std::size_t>(arm)) += 1;
    moved += arm != arm_of_user(user, 4, 8);
  }
  EXPECT_GT(equal_shares_test(counts).p, 0.001);
  EXPECT_NEAR(static_cast<double>(moved) / 20000, 0.75, 0.02);  // another seed deals anew
}

TEST(Dealing, HeartsComeAtTheirChance) {
  int hearts = 0;
  for (std::int64_t user = 0; user < 4000; ++user)
    for (std::int64_t k = 0; k < 5; ++k) hearts += gives_heart(0.05, 3, user, k);
  EXPECT_NEAR(hearts / 20000.0, 0.05, 5 * std::sqrt(0.05 * 0.95 / 20000));
  EXPECT_FALSE(gives_heart(0, 3, 1, 1));
  EXPECT_TRUE(gives_heart(1, 3, 1, 1));
}

TEST(Activity, FollowsTheUsersAndKeepsTheMean) {
  const World world{WorldParameters{}};
  const auto responses = responses_of_users(world, 3000, 12.0);
  ASSERT_EQ(responses.size(), 3000U);
  const double mean = std::accumulate(responses.begin(), responses.end(), 0.0) / 3000;
  EXPECT_NEAR(mean, 12, 1.2);  // the cap takes a little
  EXPECT_GE(*std::min_element(responses.begin(), responses.end()), 1);
  EXPECT_LE(*std::max_element(responses.begin(), responses.end()), 120);
  EXPECT_GT(world.taste(0).activity > world.taste(1).activity ? responses[0] : responses[1],
            std::min(responses[0], responses[1]) - 1);
}

TEST(Conversations, WereNeverAsked) {
  const World world{WorldParameters{}};
  const auto text = [&](std::int64_t user, std::int64_t conversation) {
    std::string all;
    for (const Message& message : world.prompt_of(user, conversation)) all += message.content + "\n";
    return all;
  };
  std::set<std::string> different;
  for (std::int64_t k = 0; k < 40; ++k) different.insert(text(5, ab_conversation(k)));
  EXPECT_GT(different.size(), 35U);
  EXPECT_GT(ab_conversation(0), std::int64_t{1000} << 40);  // above every number that simulate uses
}

AbArm arm_of(const std::string& name, std::optional<double> weight, double hearts_of_every_tenth) {
  AbArm arm{.name = name, .love_weight = weight};
  for (int user = 0; user < 1000; ++user) {
    arm.responses.push_back(4);
    arm.hearts.push_back(user % 10 == 0 ? hearts_of_every_tenth : 0);
    arm.love_chances.push_back(0.1 * hearts_of_every_tenth);
    arm.closings.push_back(user % 5 == 0 ? 1 : 0);
    arm.helpfulness.push_back(2);
    arm.safety.push_back(4);
    arm.tokens.push_back(80);
  }
  return arm;
}

TEST(Table, HoldsRatesLiftsAndUsersNeeded) {
  ValidationOptions options;
  const auto table =
      ab_table({arm_of("reference", {}, 1), arm_of("policy_w0.0", 0.0, 2), arm_of("policy_w0.3", 0.3, 3)}, options);
  EXPECT_EQ(table.at("users"), 3000);
  EXPECT_EQ(table.at("responses_per_user"), 4);
  EXPECT_EQ(table.at("sample_ratio").at("p"), 1);
  EXPECT_EQ(table.at("base"), "policy_w0.0");
  EXPECT_NEAR(table.at("arms")[2].at("love_rate").at("value").get<double>(), 0.075, 1e-12);
  EXPECT_NEAR(table.at("arms")[2].at("expected_love_rate").at("value").get<double>(), 0.075, 1e-12);
  EXPECT_EQ(table.at("arms")[0].at("hearts"), 100);
  std::set<std::string> pairs;
  for (const auto& row : table.at("comparisons"))
    pairs.insert(row.at("name").get<std::string>() + "-" + row.at("to").get<std::string>());
  EXPECT_EQ(pairs,
            (std::set<std::string>{"policy_w0.0-reference", "policy_w0.3-reference", "policy_w0.3-policy_w0.0"}));
  for (const auto& row : table.at("comparisons"))
    if (row.at("name") == "policy_w0.3" && row.at("to") == "policy_w0.0") {
      EXPECT_NEAR(row.at("love_rate_lift").at("value").get<double>(), 0.5, 1e-12);
      EXPECT_LT(row.at("love_rate_difference").at("p").get<double>(), 0.05);
      EXPECT_NEAR(row.at("closing_rate_difference").at("value").get<double>(), 0, 1e-12);
    }
  // All hearts of a user come together, so fewer than the responses suggest are independent.
  EXPECT_GT(table.at("design_effect").get<double>(), 1.5);
  double paper = 0;
  for (const auto& row : table.at("users_needed"))
    if (row.at("effect").get<std::string>().find("+28 %") != std::string::npos) paper = row.at("users_per_arm");
  const AbDesign test{.rate = 0.05, .responses_per_user = 4, .design_effect = table.at("design_effect")};
  EXPECT_EQ(paper, users_for(test, 0.28).treatment);
}

}  // namespace
}  // namespace rluf
