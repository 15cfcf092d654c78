// Whole CRRAFT rounds with a tiny random Llama and toy rewards, on any number of ranks.
#include "rluf/pipeline/policy/policy_round.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/pipeline/policy/term_loss.hpp"
#include "toy_policy.hpp"

namespace rluf {
namespace {

bool is_time(const std::string& name) { return name.ends_with("_seconds"); }

TEST(PolicyRound, DoesNotDependOnTheNumberOfRanks) {  // invariant 7
  const Communicator world = Communicator::world(), self = Communicator::self();
  PolicyOptions options = toy_options();
  options.judges.names = {"well_formed", "repetition"};
  const std::vector<Objective> objectives = {toy("helpfulness", 0.7, "w7"), toy("love", 0.3, "w1")};
  Toy together(objectives, options, world), alone(objectives, options, self);
  for (std::int64_t round = 0; round < 3; ++round) {
    const RoundMetrics a = together.run(round), b = alone.run(round);
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, value] : a)
      if (!is_time(name)) {
        EXPECT_EQ(value, b.at(name)) << name;
      }
    EXPECT_GT(a.at("length_tokens"), 0);
  }
  EXPECT_EQ(largest_difference(together.policy(), alone.policy()), 0.0);
  EXPECT_GT(largest_difference(together.policy(), together.reference()), 1e-3) << "it has learned";
}

TEST(PolicyRound, EveryOptimizerIsTheSameOnAnyNumberOfRanks) {  // invariant 7
  for (const PolicyOptimizer& optimizer : policy_optimizers())
    for (const std::string reading : {"reward", "gradients"}) {
      PolicyOptions options = toy_options();
      options.optimizer = optimizer.name;
      options.weights_apply_to = reading;
      options.judges.names = {"repetition"};
      options.judges.max_repetition = 0.2;
      if (optimizer.name == "rloo" || optimizer.name == "grpo") options.steps_per_round = 2;
      const std::vector<Objective> objectives = {toy("helpfulness", 0.7, "w7"), toy("love", 0.3, "w1")};
      Toy together(objectives, options, Communicator::world()), alone(objectives, options, Communicator::self());
      for (std::int64_t round = 0; round < 2; ++round) {
        const RoundMetrics a = together.run(round), b = alone.run(round);
        for (const auto& [name, value] : a)
          if (!is_time(name)) {
            EXPECT_EQ(value, b.at(name)) << optimizer.name << " " << name;
          }
        EXPECT_GT(a.at("trained_responses"), 0) << optimizer.name;
        EXPECT_TRUE(std::isfinite(a.at("loss"))) << optimizer.name;
      }
      EXPECT_EQ(largest_difference(together.policy(), alone.policy()), 0.0) << optimizer.name;
      EXPECT_GT(largest_difference(together.policy(), together.reference()), 1e-3) << optimizer.name;
    }
}

TEST(PolicyRound, EveryOptimizerRaisesTheRewardOnTheToy) {
  for (const PolicyOptimizer& optimizer : policy_optimizers()) {
    PolicyOptions options = toy_options();
    options.optimizer = optimizer.name;
    options.rounds = 25;
    if (optimizer.name == "codpo") options.codpo_lambda = 0.1;
    Toy learner({toy("helpfulness", 1, "w7")}, options, Communicator::world());
    const double start = learner.mean_score();
    for (std::int64_t round = 0; round < options.rounds; ++round) learner.run(round);
    EXPECT_GT(learner.mean_score(), start + 0.1) << optimizer.name;
  }
}

TEST(PolicyRound, AdaptersShareTheReferencesWeightsAndLeaveThemAsTheyAre) {
  PolicyOptions options = toy_options();
  options.optimizer = "grpo";  // with the reference in the loss
  options.train.lora_rank = 4;
  const Llama untouched(tiny_config(), 3, at::kCPU);
  Toy together({toy("helpfulness", 1, "w7")}, options, Communicator::world()),
      alone({toy("helpfulness", 1, "w7")}, options, Communicator::self());
  EXPECT_EQ(together.policy().parameters()[1].second.data_ptr(),
            together.reference().parameters()[1].second.data_ptr());
  for (std::int64_t round = 0; round < 2; ++round) {
    const RoundMetrics a = together.run(round), b = alone.run(round);
    for (const auto& [name, value] : a)
      if (!is_time(name)) {
        EXPECT_EQ(value, b.at(name)) << name;
      }
    if (round == 0) {
      EXPECT_NEAR(a.at("kl"), 0.0, 1e-4);
    } else {
      EXPECT_GT(std::abs(a.at("kl")), 1e-4) << "of the policy, which has moved";
    }
  }
  EXPECT_EQ(largest_difference(together.reference(), untouched), 0.0);
  EXPECT_FALSE(at::equal(together.policy().whole_parameter(2), untouched.whole_parameter(2)));
}

TEST(PolicyRound, BestOfNDrawsFromTheReference) {
  PolicyOptions options = toy_options();
  options.optimizer = "best_of_n";
  Toy distilled({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  const RoundMetrics first = distilled.run(0), second = distilled.run(1);
  EXPECT_NEAR(first.at("kl"), 0.0, 1e-4);
  EXPECT_GT(std::abs(second.at("kl")), 1e-4) << "of the policy, which has moved";
  EXPECT_EQ(second.at("log_prob_difference_largest"), 0.0) << "nothing was drawn by the policy";
  // What the second round drew does not depend on what the first one has learned.
  Toy fresh({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  EXPECT_EQ(fresh.run(1).at("score_helpfulness"), second.at("score_helpfulness"));
}

TEST(PolicyRound, StartsAtTheReference) {
  Toy toy_run({toy("helpfulness", 1, "w7")}, toy_options(), Communicator::world());
  const RoundMetrics first = toy_run.run(0);
  EXPECT_NEAR(first.at("kl"), 0.0, 1e-4);
  EXPECT_LT(first.at("log_prob_difference_largest"), 1e-4) << "the training pass sees the policy that drew";
  EXPECT_GT(first.at("log_prob_difference_largest"), first.at("log_prob_difference"));
  EXPECT_GT(first.at("log_prob_difference"), 0.0) << "other kernels round otherwise";
  EXPECT_GT(std::abs(toy_run.run(1).at("kl")), 1e-4);
}

TEST(PolicyRound, LoveWeightZeroIsTheRunWithoutLoveBitForBit) {  // invariant 8
  const Communicator world = Communicator::world();
  Toy with({toy("helpfulness", 0.7, "w7"), toy("safety", 0.3, "w9"), toy("love", 0.0, "w1")}, toy_options(), world);
  Toy without({toy("helpfulness", 0.7, "w7"), toy("safety", 0.3, "w9")}, toy_options(), world);
  for (std::int64_t round = 0; round < 3; ++round) {
    const RoundMetrics a = with.run(round), b = without.run(round);
    for (const auto& [name, value] : b)
      if (!is_time(name)) {
        EXPECT_EQ(value, a.at(name)) << name;
      }
    EXPECT_TRUE(a.contains("reward_love"));
  }
  EXPECT_EQ(largest_difference(with.policy(), without.policy()), 0.0);
}

TEST(PolicyRound, WitnessesAndWatchingJudgesSeeEverythingAndChangeNothing) {
  const Communicator world = Communicator::world();
  PolicyOptions options = toy_options(), watched_options = options;
  options.judges.names = watched_options.judges.names = {"repetition"};
  watched_options.judges.watching = {"well_formed"};
  const std::vector<Objective> objectives = {toy("love", 1.0, "w7")};
  // The witness is the same model as the proxy, so it must say the same.
  Toy plain(objectives, options, world),
      watched({objectives[0], toy(witness_name("love"), 0, "w7")}, watched_options, world);
  for (std::int64_t round = 0; round < 2; ++round) {
    std::vector<WatchedPrompt> seen;
    const RoundMetrics a = plain.run(round), b = watched.run(round, &seen);
    for (const auto& [name, value] : a)
      if (!is_time(name)) {
        EXPECT_EQ(value, b.at(name)) << name;
      }
    EXPECT_EQ(b.at("reward_witness_love"), a.at("reward_love"));
    EXPECT_EQ(b.at("gain_witness_love"), a.at("gain_love"));
    EXPECT_NEAR(b.at("satisfied_well_formed") + b.at("violated_well_formed"), 1, 1e-12);
    ASSERT_EQ(seen.size(), watched.prompts().size());
    double reward = 0, bypasses = 0, responses = 0;
    for (const WatchedPrompt& prompt : seen) {
      EXPECT_EQ(prompt.before_measures.at("witness_love"), std::vector<double>{0.0});
      EXPECT_EQ(prompt.before_measures.at("bypass_well_formed"), std::vector<double>{0.0}) << "the baseline ends well";
      for (const WatchedResponse& response : prompt.after) {
        EXPECT_EQ(response.measures.at("witness_love"), 0.5 - response.rewards.at("love"));
        reward += response.rewards.at("love");
        bypasses += response.measures.at("bypass_well_formed");
        responses += 1;
      }
    }
    EXPECT_NEAR(reward / responses, b.at("reward_love"), 1e-12);
    EXPECT_GT(bypasses, 0);
    EXPECT_LE(bypasses / responses, b.at("violated_well_formed") + 1e-12) << "the others must have let it pass";
  }
  EXPECT_EQ(largest_difference(plain.policy(), watched.policy()), 0.0);
}

TEST(PolicyRound, WithoutJudgesCapAndWeightsItIsRaftBitForBit) {  // invariant 2
  const Communicator self = Communicator::self();
  for (const std::int64_t num_samples : {4, 1}) {
    PolicyOptions options = toy_options();
    options.num_samples = num_samples;
    options.kl_max = 1e300;
    options.weighting = "one";
    Toy crraft({toy("helpfulness", 1, "w7")}, options, self), raft({toy("helpfulness", 1, "w7")}, options, self);
    const RoundMetrics metrics = crraft.run(0);

    // RAFT by hand: the best of the same samples, one step of supervised fine-tuning.
    GenerationOptions generation;
    generation.max_new_tokens = options.max_new_tokens;
    generation.num_samples = num_samples;
    generation.stop_ids = {23};
    generation.seed = 11;
    generation.round = 1;
    generation.batching = options.batching;
    std::vector<TokenIds> tokens;
    std::vector<std::int64_t> ids;
    for (const Prompt& prompt : raft.prompts()) {
      tokens.push_back(prompt.tokens);
      ids.push_back(prompt.id);
    }
    const auto samples = generate_over_ranks(raft.policy(), tokens, ids, generation, self);
    std::vector<Document> documents;
    std::vector<std::vector<std::int64_t>> micro_batches(1);
    std::int64_t used = 0;
    for (std::size_t p = 0; p < tokens.size(); ++p) {
      std::size_t best = 0;
      for (std::size_t k = 1; k < samples[p].size(); ++k)
        if (number_of(decode(samples[p][k].tokens), "w7") > number_of(decode(samples[p][best].tokens), "w7")) best = k;
      Document document{tokens[p], 3};
      document.tokens.insert(document.tokens.end(), samples[p][best].tokens.begin(), samples[p][best].tokens.end());
      const auto length = static_cast<std::int64_t>(document.tokens.size());
      if (used > 0 && used + length > options.train.micro_batch_tokens) {
        micro_batches.emplace_back();
        used = 0;
      }
      used += length;
      micro_batches.back().push_back(static_cast<std::int64_t>(p));
      documents.push_back(document);
    }
    const std::vector<double> ones(documents.size(), -1.0);
    const StepResult step =
        train_step(raft.policy(), raft.optimizer(), micro_batches, static_cast<double>(documents.size()),
                   learning_rate_at(options.train, 0, options.rounds), weighted_log_prob_loss(documents, ones), self);
    EXPECT_EQ(step.loss, metrics.at("loss"));
    EXPECT_EQ(largest_difference(crraft.policy(), raft.policy()), 0.0);
    EXPECT_GT(largest_difference(crraft.policy(), crraft.reference()), 0.0);
  }
}

TEST(PolicyRound, ATaskWithTheSettingsOfAllIsItsOwnStepTimesItsWeight) {  // CGPO Algorithm 2
  PolicyOptions options = toy_options();
  Toy plain({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  options.task_settings = "*: weight=2";
  Toy doubled({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  const RoundMetrics a = plain.run(0), b = doubled.run(0);
  EXPECT_NEAR(b.at("loss"), 2 * a.at("loss"), 1e-6);
  EXPECT_NEAR(b.at("grad_norm"), 2 * a.at("grad_norm"), 1e-5);
  EXPECT_EQ(a.at("reward"), b.at("reward"));
}

TEST(PolicyRound, TasksHaveTheirOwnSamplesCapAndRewards) {
  PolicyOptions options = toy_options();
  options.task_settings = "odd: num_samples=2 weight=0.5 helpfulness=0; even: kl_max=0 num_samples=3";
  const std::vector<Objective> objectives = {toy("helpfulness", 0.7, "w7"), toy("love", 0.3, "w1")};
  const auto name = [](std::int64_t p) { return p == 0 ? "" : p % 2 == 1 ? "odd" : "even"; };
  Toy together(objectives, options, Communicator::world(), name),
      alone(objectives, options, Communicator::self(), name);
  for (std::int64_t round = 0; round < 3; ++round) {
    const RoundMetrics a = together.run(round), b = alone.run(round);
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [metric, value] : a)
      if (!is_time(metric)) {
        EXPECT_EQ(value, b.at(metric)) << metric;
      }
    EXPECT_EQ(a.at("responses.odd"), 3 * 2);
    EXPECT_EQ(a.at("responses.even"), 3 * 3);
    EXPECT_EQ(a.at("satisfied_per_prompt") * 7, 3 * 2 + 3 * 3 + 4) << "prompt 0 has no task, and N of all";
    EXPECT_LE(a.at("reward.odd"), 0.3) << "love alone counts";
  }
  EXPECT_EQ(largest_difference(together.policy(), alone.policy()), 0.0);
  // With N and cap of all, a task of weight 0 teaches nothing: the rest alone decides.
  PolicyOptions muted = toy_options();
  muted.task_settings = "odd: weight=0; even: weight=0; *: weight=0";
  Toy silent(objectives, muted, Communicator::world(), name);
  EXPECT_EQ(silent.run(0).at("grad_norm"), 0.0);
}

TEST(PolicyRound, FallsBackToTheBaselineOrSkips) {  // invariant 3
  PolicyOptions options = toy_options();
  options.judges.names = {"forbidden_phrases", "length"};
  options.judges.min_words = 0;
  options.judges.max_words = 2;  // the baseline has two words
  options.judges.forbidden_phrases.clear();
  for (int t = 0; t < 23; ++t)
    if (t != 4 && t != 5) options.judges.forbidden_phrases += "w" + std::to_string(t) + ",";
  options.kl_max = -1e6;  // nobody survives
  Toy baseline({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  const RoundMetrics used = baseline.run(0);
  EXPECT_EQ(used.at("share_baseline"), 1.0);
  EXPECT_EQ(used.at("share_no_survivor"), 1.0);
  EXPECT_EQ(used.at("chosen_weight"), 0.5);
  EXPECT_EQ(used.at("log_prob_difference_largest"), 0.0) << "baseline responses were not drawn in this round";
  EXPECT_GT(used.at("grad_norm"), 0.0);
  options.judges.max_words = 1;
  Toy skipped({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  const RoundMetrics none = skipped.run(0);
  EXPECT_EQ(none.at("share_skipped"), 1.0);
  EXPECT_EQ(none.at("loss"), 0.0);
  EXPECT_EQ(largest_difference(skipped.policy(), skipped.reference()), 0.0);
}

TEST(PolicyRound, RewardRisesOnTheToy) {
  PolicyOptions options = toy_options();
  options.rounds = 25;
  Toy learner({toy("helpfulness", 1, "w7")}, options, Communicator::world());
  double first = 0, last = 0;
  for (std::int64_t round = 0; round < options.rounds; ++round) {
    const double score = learner.run(round).at("score_helpfulness");
    if (round < 5) first += score / 5;
    if (round >= 20) last += score / 5;
  }
  EXPECT_GT(last, first + 0.2);
}

}  // namespace
}  // namespace rluf
