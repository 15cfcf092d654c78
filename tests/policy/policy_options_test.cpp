#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/policy/policy.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(PolicyOptions, EveryTaskNeedsAnObjectiveAtEveryLoveWeight) {
  PolicyOptions engaged;
  engaged.task_settings = "fun: helpfulness=0 safety=0";
  EXPECT_THAT([&] { engaged.check(); }, ThrowsMessage<Error>(HasSubstr("the task fun at the love weight 0")));
  PolicyOptions loved = engaged;
  loved.love_weights = {0.1, 0.3};
  EXPECT_NO_THROW(loved.check());
  PolicyOptions one_sample;
  one_sample.task_settings = "fun: num_samples=1";
  one_sample.optimizer = "rloo";
  EXPECT_THAT([&] { one_sample.check(); }, ThrowsMessage<Error>(HasSubstr("num_samples = 1")));
}

TEST(PolicyName, HoldsTheWeight) {
  EXPECT_EQ(policy_name(0), "policy_w0.0");
  EXPECT_EQ(policy_name(0.1), "policy_w0.1");
  EXPECT_EQ(policy_name(1), "policy_w1.0");
  EXPECT_EQ(policy_name(0.25), "policy_w0.25");
}

}  // namespace
}  // namespace rluf
