#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/plan/plan.hpp"
#include "rluf/pipeline/plan/text.hpp"

namespace rluf {
namespace {

/// Options of a run with everything to plan, on sixteen GPUs in four nodes.
struct Options {
  PlanOptions plan;
  RunOptions run;
  ModelOptions model;
  DataOptions data;
  SftOptions sft;
  RewardOptions reward;
  PolicyOptions policy;
  ValidationOptions validate;
  ParallelOptions parallel;

  Options() {
    plan.ranks = 16;
    plan.ranks_per_node = 4;
    plan.model = "llama-3-8b";
    plan.love_model = "llama-3.2-1b";
    plan.love_examples = 20000;
    plan.helpfulness_pairs = plan.safety_pairs = 5000;
    plan.sft_examples = 5000;
    plan.held_out_prompts = 300;
    model.compute = "bf16";
    policy.prompts_per_round = 64;
  }
  PlanInput input() const { return plan_input({plan, run, model, data, sft, reward, policy, validate, parallel}); }
};

TEST(Search, FindsTheFastestThatFits) {
  for (const double memory_gb : {80.0, 45.0, 34.0}) {
    Options options;
    options.plan.memory_gb = memory_gb;
    const PlanInput input = options.input();
    double best = 1e300, smallest = 1e300;
    std::size_t tried = 0, fitting = 0;
    for (std::int64_t tensor = 1; tensor <= 16; ++tensor)
      for (std::int64_t shard = 1; shard <= 16; ++shard)
        for (const std::int64_t zero : {1, 2, 3})
          for (const Recompute kind : {Recompute::kNone, Recompute::kSelective, Recompute::kLayers})
            for (const JudgePlacement placement :
                 {JudgePlacement::kSharded, JudgePlacement::kHost, JudgePlacement::kGroups}) {
              // A tensor group stays in its node and divides eight key/value heads; sharding over one rank is none.
              if (4 % tensor != 0 || 16 % (tensor * shard) != 0 || (shard == 1 && zero > 1)) continue;
              // Five models on nodes of their own would leave the policy none: four nodes for the judges are all.
              if (placement == JudgePlacement::kGroups) continue;
              const RunPlan plan = plan_run(input, {16, 4, shard, tensor, zero, kind}, placement);
              ++tried;
              smallest = std::min(smallest, plan.peak_bytes);
              if (plan.fits()) {
                ++fitting;
                best = std::min(best, plan.seconds);
              }
            }
    const auto plans = search_plans(input);
    EXPECT_EQ(plans.size(), tried);
    if (fitting > 0) {
      EXPECT_TRUE(plans.front().fits());
      EXPECT_EQ(plans.front().seconds, best);
      EXPECT_LE(plans[0].seconds, plans[1].seconds);
    } else {
      EXPECT_FALSE(plans.front().fits());
      EXPECT_EQ(plans.front().peak_bytes, smallest);
    }
    std::cout << memory_gb << " GB: " << fitting << " of " << tried << " plans fit, the best is "
              << plans.front().layout.text() << "\n";
  }
}

TEST(Search, SaysByHowMuchItDoesNotFit) {
  Options options;
  options.plan.memory_gb = 12;
  const PlanInput input = options.input();
  const auto plans = search_plans(input);
  ASSERT_FALSE(plans.front().fits());
  try {
    fail_memory(input, plans.front());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_THAT(error.what(), testing::HasSubstr("GB more than the 9.4 GB"));
    EXPECT_THAT(error.what(), testing::HasSubstr("raise plan.ranks"));
  }
}

TEST(Search, PlacesJudgesOnGroupsWhereNodesSuffice) {
  Options options;
  options.plan.ranks = 32;
  const PlanInput input = options.input();
  EXPECT_EQ(group_ranks(input), 16);
  const PlanLayout layout{32, 4, 8, 1, 3, Recompute::kLayers};
  const StagePlan shared = plan_policy(input, layout, JudgePlacement::kSharded);
  const StagePlan apart = plan_policy(input, layout, JudgePlacement::kGroups);
  EXPECT_EQ(shared.idle_share, 0);
  EXPECT_GT(apart.idle_share, 0);
  EXPECT_LT(apart.idle_share, 1);
  // Four judges on ranks of their own weigh nothing on the others.
  EXPECT_LT(apart.peak_bytes.value(), shared.peak_bytes.value());
}

TEST(Plan, StepsAreThoseOfTheTrainingLoop) {
  Options options;
  options.reward.love.train.epochs = 2;
  options.reward.love.train.global_batch = 300;
  const PlanInput input = options.input();
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kLayers};
  const StagePlan love = plan_training(input.trainings[1], input, layout);
  EXPECT_EQ(love.name, "love");
  EXPECT_EQ(love.steps.value(), 134);  // 40,000 examples in steps of 300
  EXPECT_DOUBLE_EQ(love.seconds.value(), 134 * love.step_seconds.value());
}

TEST(Plan, MoreOfEverythingTakesLonger) {
  const Options options;
  const PlanInput input = options.input();
  const auto seconds = [&](const PlanLayout& layout) {
    return plan_training(input.trainings[0], input, layout).step_seconds.value();
  };
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kNone};
  PlanLayout again = layout;
  again.recompute = Recompute::kLayers;
  EXPECT_GT(seconds(again), seconds(layout));
  Options fixed_point = options, floats = options;
  floats.run.reproducible = false;
  const PlanInput large = fixed_point.input(), light = floats.input();
  EXPECT_GT(plan_training(large.trainings[0], large, layout).step_seconds.value(),
            plan_training(light.trainings[0], light, layout).step_seconds.value());
}

TEST(Plan, PolicyTrainingDependsOnTheOptimizer) {
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kLayers};
  const auto plan_of = [&](const std::string& optimizer, const std::string& reading = "reward") {
    Options options;
    options.policy.optimizer = optimizer;
    options.policy.weights_apply_to = reading;
    const PlanInput input = options.input();
    return plan_policy(input, layout, JudgePlacement::kSharded);
  };
  const auto examples = [](const StagePlan& plan) {
    for (const Phase& phase : plan.phases)
      if (phase.title.starts_with("an optimizer step"))
        for (const Figure& figure : phase.figures)
          if (figure.text == "examples") return figure.quantity.value();
    return 0.0;
  };
  EXPECT_EQ(examples(plan_of("crraft")), 64);
  EXPECT_EQ(examples(plan_of("crpg")), 64 * 4) << "all samples of a prompt";
  EXPECT_EQ(examples(plan_of("codpo")), 64) << "pairs";
  EXPECT_EQ(examples(plan_of("crraft", "gradients")), 64 * 3) << "each objective chooses for itself";
  const double crraft = plan_of("crraft").step_seconds.value();
  EXPECT_DOUBLE_EQ(plan_of("raft").step_seconds.value(), crraft);
  EXPECT_GT(plan_of("codpo").step_seconds.value(), crraft);
  EXPECT_GT(plan_of("crpg").step_seconds.value(), crraft);
  EXPECT_GT(plan_of("best_of_n").step_seconds.value(), crraft) << "the policy scores what the reference drew";
  EXPECT_GT(plan_of("grpo").step_seconds.value(), plan_of("rloo").step_seconds.value()) << "the reference in the loss";
  EXPECT_GT(plan_of("codpo").peak_bytes.value(), plan_of("crraft").peak_bytes.value());
}

TEST(Plan, WarmUpIsATraining) {
  Options options;
  options.policy.warm_up_steps = 30;
  const PlanInput input = options.input();
  const PlannedTraining& training = input.trainings.back();
  EXPECT_EQ(training.model.role, "warm_up");
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kLayers};
  const StagePlan with = plan_training(training, input, layout);
  EXPECT_EQ(with.steps.value(), 30);
  PlannedTraining without = training;
  without.preference = false;
  EXPECT_GT(with.step_seconds.value(), plan_training(without, input, layout).step_seconds.value());
  EXPECT_DOUBLE_EQ(with.seconds.value(), 30 * with.step_seconds.value());
  options.plan.helpfulness_pairs = 0;
  const PlanInput none = options.input();
  EXPECT_NE(none.trainings.back().model.role, "warm_up");
  EXPECT_THAT(none.left_out.back(), testing::HasSubstr("warm_up_steps"));
}

TEST(Plan, RefusesWhatItDoesNotKnow) {
  Options options;
  options.plan.stages = {"polcy"};
  EXPECT_THAT([&] { options.input(); }, testing::ThrowsMessage<Error>(testing::HasSubstr("did you mean policy?")));
  options = Options();
  options.plan.response_tokens = 200;
  EXPECT_THAT([&] { options.input(); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("policy.max_new_tokens = 128")));
  options = Options();
  options.plan.model = "llama-3-80b";
  EXPECT_THAT([&] { options.input(); }, testing::ThrowsMessage<Error>(testing::HasSubstr("did you mean llama-3-8")));
  options = Options();
  options.plan.model = "";
  EXPECT_THAT([&] { options.input(); }, testing::ThrowsMessage<Error>(testing::HasSubstr("has no shape")));
  EXPECT_THAT(
      [&] {
        check_plan_layout({16, 4, 3, 1, 1, {}}, {});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("does not divide 16 ranks")));
}

}  // namespace
}  // namespace rluf
