#include "rluf/statistics/power.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace rluf {
namespace {

// The paper's effects at 0.1 % of independent responses, and its closings of 0.72 % that become 2.8 %.
TEST(Power, UsersOfThePapersEffects) {
  const AbDesign design{.rate = 0.001};
  EXPECT_NEAR(users_for(design, 0.0973).treatment, 1.74e6, 0.005 * 1.74e6);
  EXPECT_NEAR(users_for(AbDesign{.rate = 0.0072}, 0.028 / 0.0072 - 1).treatment, 623, 2);
  const AbUsers users = users_for(design, 0.28);
  EXPECT_NEAR(users.treatment, 228000, 1000);
  EXPECT_EQ(users.treatment, users.control);
  EXPECT_EQ(users.total, 2 * users.control);
}

TEST(Power, WhatUsersGiveIsWhatWasAsked) {
  for (const AbDesign& design :
       {AbDesign{.rate = 0.006, .responses_per_user = 5, .design_effect = 1.4},
        AbDesign{.rate = 0.05, .responses_per_user = 2, .alpha = 0.01, .power = 0.95, .control_share = 0.7, .arms = 4},
        AbDesign{.rate = 0.2, .cuped_correlation = 0.6, .arms = 3}}) {
    const AbUsers users = users_for(design, 0.1);
    EXPECT_NEAR(power_with(design, 0.1, users.total), design.power, 1e-3);
    EXPECT_NEAR(detectable_lift(design, users.total), 0.1, 1e-4);
    EXPECT_NEAR(users.control / users.total, design.share_of_control(), 1e-3);
  }
}

TEST(Power, EachPartOfTheDesignCounts) {
  const AbDesign plain{.rate = 0.01};
  const double users = users_for(plain, 0.1).total;
  AbDesign other = plain;
  other.responses_per_user = 4;
  EXPECT_NEAR(users_for(other, 0.1).total, users / 4, 2);
  other.design_effect = 2;
  EXPECT_NEAR(users_for(other, 0.1).total, users / 2, 2);
  other = plain;
  other.cuped_correlation = 0.5;
  EXPECT_NEAR(users_for(other, 0.1).total, 0.75 * users, 2);
  other = plain;
  other.control_share = 0.8;  // 1.1 / 0.2 + 1 / 0.8 against 1.1 / 0.5 + 1 / 0.5, nearly
  EXPECT_NEAR(users_for(other, 0.1).total / users, 6.75 / 4.2, 0.002);
}

TEST(Power, ImpossibleEffectsHaveNoNumber) {
  const AbDesign design{.rate = 0.6};
  EXPECT_TRUE(std::isnan(users_for(design, 0.0).total));
  EXPECT_TRUE(std::isnan(users_for(design, 0.7).total)) << "a rate of 1.02";
  EXPECT_TRUE(std::isnan(detectable_lift(design, 2)));
  EXPECT_TRUE(std::isnan(detectable_lift(design, 0)));
}

}  // namespace
}  // namespace rluf
