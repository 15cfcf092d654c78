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
  SignalOptions signals;
  SftOptions sft;
  RewardOptions reward;
  EvaluationOptions evaluate;
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
  PlanInput input() const {
    return plan_input({plan, run, model, data, signals, sft, reward, evaluate, policy, validate, parallel});
  }
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

/// The documents of the first phase whose title begins so.
double documents_of(const StagePlan& plan, const std::string& title) {
  for (const Phase& phase : plan.phases)
    if (phase.title.starts_with(title))
      for (const Figure& figure : phase.figures)
        if (figure.text == "examples") return figure.quantity.value();
  return 0;
}

TEST(Plan, WitnessesAndJudgesScoreTheRound) {
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kLayers};
  Options options;
  const PlanInput without = options.input();
  options.policy.witnesses = {"models/of_another_run", "models/of_a_third"};
  options.policy.judges.names = {"facts", "length", "harm"};
  options.policy.judges.watching = {"style"};
  options.policy.judges.named = {{"facts", {.kind = "model", .model = "models/a_judge"}},
                                 {"harm", {.kind = "model", .model = "models/./a_judge"}},
                                 {"style", {.kind = "score", .model = "models/a_score"}},
                                 {"unused", {.kind = "score", .model = "models/another"}}};
  options.plan.witness_model = options.plan.judge_model = "llama-3.2-1b";
  const PlanInput with = options.input();
  ASSERT_EQ(with.scorers.size(), without.scorers.size() + 4);
  const StagePlan small = plan_policy(without, layout, JudgePlacement::kSharded),
                  plan = plan_policy(with, layout, JudgePlacement::kSharded);
  // 64 prompts with 4 responses; judges see the baseline responses again.
  EXPECT_EQ(documents_of(plan, "safety scores 256"), 256);
  EXPECT_EQ(documents_of(plan, "witness_2 scores 256"), 256);
  EXPECT_EQ(documents_of(plan, "judge_facts_harm scores"), 2 * (256 + 64)) << "one model, asked two questions";
  EXPECT_EQ(documents_of(plan, "judge_style scores"), 256 + 64);
  EXPECT_GT(plan.step_seconds.value(), small.step_seconds.value());
  // Four models of 1.2 billion elements in float32 over sixteen ranks, and no more.
  const double more = plan.peak_bytes.value() - small.peak_bytes.value();
  EXPECT_NEAR(more, 4 * 4 * 1.2358e9 / 16, 0.01 * more);
  // Baseline responses are scored once by reward models and witnesses only.
  const double visits = 64 * static_cast<double>(options.policy.rounds);
  EXPECT_EQ(documents_of(plan, concat("witness_1 scores ", number_text(visits))), visits);
  EXPECT_EQ(documents_of(plan, concat("judge_style scores ", number_text(visits))), 0);
  options.plan.model = options.plan.judge_model = "";
  options.plan.stages = {"policy"};
  EXPECT_THAT([&] { options.input(); }, testing::ThrowsMessage<Error>(testing::HasSubstr("has no shape")));
}

TEST(Plan, TasksDrawTheirOwnNumberOfResponses) {
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kLayers};
  Options options;
  options.policy.task_settings = "math: prompts=16 num_samples=8; *: prompts=48";
  const PlanInput input = options.input();
  const RoundWork round = round_work(options.policy);
  EXPECT_EQ(round.prompts, (std::map<std::int64_t, double>{{4, 48}, {8, 16}}));
  EXPECT_EQ(round.responses, 48 * 4 + 16 * 8);
  EXPECT_TRUE(input.assumed.empty());
  const StagePlan plan = plan_policy(input, layout, JudgePlacement::kSharded);
  EXPECT_EQ(documents_of(plan, "safety scores 320"), 320);
  EXPECT_EQ(std::ranges::count_if(plan.phases, [](const Phase& p) { return p.title.starts_with("generate, N = "); }),
            2);
  options.policy.optimizer = "crpg";
  EXPECT_EQ(round_work(options.policy).terms, 320) << "all samples of a prompt";
  // Without prompts of its own a task may be of any share.
  options.policy.task_settings = "math: num_samples=8";
  EXPECT_EQ(round_work(options.policy).responses, 64 * 8);
  EXPECT_EQ(options.input().assumed.size(), 1U);
}

TEST(Plan, AdaptersNeedLittleBesidesTheWeights) {
  const PlanLayout layout{1, 1, 1, 1, 1, Recompute::kLayers};
  Options options;
  options.plan.ranks = options.plan.ranks_per_node = 1;
  options.reward.helpfulness.train.lora_rank = options.policy.train.lora_rank = 16;
  const PlanInput input = options.input();
  const StagePlan reward = plan_training(input.trainings[2], input, layout);
  EXPECT_EQ(reward.name, "helpfulness");
  // 16 (7 D + 2 K (H + G) + 3 F) elements in each of 32 layers, as PEFT counts them, and the head.
  const double adapters = 16.0 * 32 * (7 * 4096 + 2 * 128 * 40 + 3 * 14336) + 4096;
  EXPECT_EQ(reward.checkpoint_bytes.value(), 12 * adapters);
  EXPECT_LT(reward.peak_bytes.value(), 60e9);
  Options full = options;
  full.reward.helpfulness.train.lora_rank = full.policy.train.lora_rank = 0;
  const PlanInput all = full.input();
  EXPECT_GT(plan_training(all.trainings[2], all, layout).peak_bytes.value(), 120e9);
  // The reference of the policy is the policy without its adapters: one copy of 8 billion elements less, besides
  // moments, gradients and sums.
  const double less = plan_policy(all, layout, JudgePlacement::kSharded).peak_bytes.value() -
                      plan_policy(input, layout, JudgePlacement::kSharded).peak_bytes.value();
  EXPECT_GT(less, 4 * 8.03e9 + (8 + 8) * 8.03e9);
}

TEST(Plan, SignalsAndAuditAreStages) {
  Options options;
  options.plan.interactions = 1e6;
  options.data.max_rows = 400000;
  const PlanInput input = options.input();
  EXPECT_EQ(input.audit_rows, 500);
  EXPECT_EQ(input.audited.size(), 3U);
  const PlanLayout layout{16, 4, 16, 1, 3, Recompute::kLayers};
  const RunPlan plan = plan_run(input, layout, JudgePlacement::kSharded);
  std::vector<std::string> names;
  for (const StagePlan& stage : plan.stages) names.push_back(stage.name);
  EXPECT_THAT(
      names, testing::ElementsAre("signals", "sft", "love", "helpfulness", "safety", "evaluate", "policy", "validate"));
  // 400,000 lines unpacked by each rank, 25,000 rows of it read, 80 bytes each sent.
  const StagePlan& signals = *plan.stage("signals");
  EXPECT_NEAR(signals.seconds.value(),
              400000 / options.plan.log_lines_per_second + 25000 / options.plan.log_rows_per_second, 0.01);
  const StagePlan& audit = *plan.stage("evaluate");
  EXPECT_EQ(documents_of(audit, "love scores"), 500);
  EXPECT_EQ(audit.phases.size(), 3U);
  // One model at a time.
  double most = 0;
  for (const Phase& phase : audit.phases) most = std::max(most, phase.lasting_bytes.value() + phase.bytes.value());
  EXPECT_DOUBLE_EQ(audit.peak_bytes.value(), most);
  options.signals.enabled = false;
  options.evaluate.audit_rows = 0;
  EXPECT_EQ(options.input().log_rows + options.input().audit_rows, 0);
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
