#include <gtest/gtest.h>

#include <functional>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/policy/policy.hpp"

namespace rluf {
namespace {

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(PolicyOptions, EveryTaskNeedsAnObjectiveAtEveryLoveWeight) {
  PolicyOptions engaged;
  engaged.task_settings = "fun: helpfulness=0 safety=0";
  EXPECT_NE(refusal([&] { engaged.check(); }).find("the task fun at the love weight 0"), std::string::npos);
  PolicyOptions loved = engaged;
  loved.love_weights = {0.1, 0.3};
  EXPECT_EQ(refusal([&] { loved.check(); }), "");
  PolicyOptions one_sample;
  one_sample.task_settings = "fun: num_samples=1";
  one_sample.optimizer = "rloo";
  EXPECT_NE(refusal([&] { one_sample.check(); }).find("num_samples = 1"), std::string::npos);
}

TEST(PolicyName, HoldsTheWeight) {
  EXPECT_EQ(policy_name(0), "policy_w0.0");
  EXPECT_EQ(policy_name(0.1), "policy_w0.1");
  EXPECT_EQ(policy_name(1), "policy_w1.0");
  EXPECT_EQ(policy_name(0.25), "policy_w0.25");
}

}  // namespace
}  // namespace rluf
