// The invariants of the optimizers that need no model, on hand-made facts of rounds.
#include "rluf/pipeline/policy/policy_optimizers.hpp"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/pipeline/policy/policy_gradients.hpp"
#include "rluf/pipeline/policy/preference_losses.hpp"

namespace rluf {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Rewards are of two objectives with the weights 0.7 and 0.3.
const std::vector<double> kWeights = {0.7, 0.3};
RoundFacts random_facts(std::uint64_t seed, std::size_t num_prompts, std::size_t num_samples, double satisfied_rate) {
  RandomStream random(seed, Purpose::kSimulation);
  RoundFacts facts{num_samples, {}, {}, {}};
  for (std::size_t i = 0; i < num_prompts; ++i) {
    for (std::size_t k = 0; k < num_samples; ++k) {
      facts.objective_rewards.push_back({random.uniform(), random.uniform()});
      const double reward = combined_reward(facts.objective_rewards.back(), kWeights);
      facts.candidates.push_back({random.uniform() < satisfied_rate, 4 * random.normal(), reward});
    }
    facts.baselines.push_back({random.uniform() < satisfied_rate, 0, 0.5});
  }
  return facts;
}

PolicyOptions options_for(const std::string& optimizer, double kl_max = 4) {
  PolicyOptions options;
  options.optimizer = optimizer;
  options.kl_max = kl_max;
  return options;
}

bool all_satisfied(const RoundFacts& facts, std::int64_t prompt) {
  for (const CandidateFacts& candidate : facts.of_prompt(static_cast<std::size_t>(prompt)))
    if (!candidate.satisfied) return false;
  return true;
}

const CandidateFacts& fact(const RoundFacts& facts, std::int64_t prompt, std::int64_t response) {
  return facts.of_prompt(static_cast<std::size_t>(prompt))[static_cast<std::size_t>(response)];
}

TEST(Raft, IsCrraftWithoutCapAndWeights) {  // invariant 2; with judges, where every prompt has a satisfied candidate
  PolicyOptions crraft = options_for("crraft", kInfinity);
  crraft.weighting = "one";
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const RoundFacts facts = random_facts(seed, 5, 4, 1.0);
    const RoundTerms a = round_terms(facts, crraft, kWeights), b = round_terms(facts, options_for("raft"), kWeights);
    EXPECT_EQ(a.terms, b.terms);
    EXPECT_EQ(a.divisor, b.divisor);
    EXPECT_EQ(b.terms, round_terms(facts, options_for("best_of_n"), kWeights).terms);
    ASSERT_EQ(b.terms.size(), 5U);
    for (const Term& term : b.terms) {
      EXPECT_EQ(term.weight, 1.0);
      for (const CandidateFacts& other : facts.of_prompt(static_cast<std::size_t>(term.prompt)))
        EXPECT_GE(fact(facts, term.prompt, term.response).reward, other.reward);
    }
  }
}

TEST(Raft, WithoutASatisfiedCandidateSkips) {
  RoundFacts facts = random_facts(1, 2, 4, 0.0);
  facts.baselines[0].satisfied = facts.baselines[1].satisfied = true;
  EXPECT_TRUE(round_terms(facts, options_for("raft"), kWeights).terms.empty());
  EXPECT_EQ(round_terms(facts, options_for("crraft"), kWeights).terms.size(), 2U) << "which falls back to a_bar";
}

TEST(Crpg, RewardFadesToTheCap) {  // invariant 4
  EXPECT_EQ(crpg_reward({true, 0.0, 0.8}, 4), 0.8) << "at the reference the factor is 1";
  EXPECT_EQ(crpg_reward({true, 1.0, 0.8}, 4), 0.75 * 0.8);
  EXPECT_EQ(crpg_reward({true, -2.0, 0.8}, 4), 1.5 * 0.8) << "it is not cut above";
  EXPECT_EQ(crpg_reward({true, 4.0, 0.8}, 4), 0.0);
  EXPECT_EQ(crpg_reward({true, 400.0, 0.8}, 4), 0.0);
  EXPECT_EQ(crpg_reward({false, 0.0, 0.8}, 4), 0.0) << "a violator";
  EXPECT_EQ(crpg_reward({true, 9.0, 0.8}, kInfinity), 0.8);
}

TEST(Crpg, AdvantagesAreCentredOverTheWholeRound) {
  const RoundFacts facts = random_facts(3, 6, 4, 0.6);
  const auto advantages = crpg_advantages(facts.candidates, 4);
  double mean = 0;
  for (const CandidateFacts& candidate : facts.candidates) mean += crpg_reward(candidate, 4) / 24;
  for (std::size_t j = 0; j < 24; ++j)
    EXPECT_NEAR(advantages[j], crpg_reward(facts.candidates[j], 4) - mean, 1e-14) << "violators count with 0";
  EXPECT_NEAR(std::accumulate(advantages.begin(), advantages.end(), 0.0), 0.0, 1e-14);
  const RoundTerms terms = round_terms(facts, options_for("crpg"), kWeights);
  EXPECT_EQ(terms.terms.size(), 24U) << "a violator is pushed down";
  EXPECT_EQ(terms.divisor, 24.0);
}

TEST(Crpg, EqualRewardsGiveNoGradient) {  // invariant 4
  RoundFacts facts = random_facts(3, 7, 3, 1.0);
  for (CandidateFacts& candidate : facts.candidates) candidate = {true, 1.1, 0.37};
  EXPECT_THAT(crpg_advantages(facts.candidates, 3.3), Each(0.0));
  EXPECT_TRUE(round_terms(facts, options_for("crpg"), kWeights).terms.empty());
  for (CandidateFacts& candidate : facts.candidates) candidate.satisfied = false;
  EXPECT_TRUE(round_terms(facts, options_for("crpg"), kWeights).terms.empty()) << "all violate";
}

TEST(Codpo, PairsKeepTheirSides) {  // invariant 5
  int within = 0, across = 0, none = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const RoundFacts facts = random_facts(seed, 6, 4, seed % 3 == 0 ? 0.95 : 0.4);
    const RoundTerms terms = round_terms(facts, options_for("codpo"), kWeights);
    EXPECT_EQ(terms.divisor, 6.0);
    none += 6 - static_cast<int>(terms.terms.size());
    for (const Term& term : terms.terms) {
      const CandidateFacts &chosen = fact(facts, term.prompt, term.response),
                           &rejected = fact(facts, term.prompt, term.rejected);
      EXPECT_TRUE(chosen.satisfied) << "the chosen one never violates";
      EXPECT_EQ(rejected.satisfied, all_satisfied(facts, term.prompt)) << "from X+ only if X- is empty";
      for (const CandidateFacts& other : facts.of_prompt(static_cast<std::size_t>(term.prompt))) {
        if (other.satisfied) {
          EXPECT_GE(chosen.reward, other.reward);
        }
        if (other.satisfied == rejected.satisfied) {
          EXPECT_LE(rejected.reward, other.reward);
        }
      }
      (rejected.satisfied ? within : across) += 1;
    }
  }
  EXPECT_GT(within, 20);
  EXPECT_GT(across, 20);
  EXPECT_GT(none, 20);
}

TEST(Codpo, NegativeRewardsDoNotLetAViolatorWin) {  // where a mask that multiplies with 0 would fail
  const std::vector<CandidateFacts> facts = {{false, 0, 0.5}, {true, 0, -2}, {true, 0, -1}, {false, 0, 0.25}};
  EXPECT_EQ(codpo_pair(facts), (PreferencePair{2, 3}));
}

TEST(Codpo, OneSampleHasNoPair) {  // invariant 5
  EXPECT_FALSE(codpo_pair(std::vector<CandidateFacts>{{true, 0, 0.9}}));
  EXPECT_FALSE(codpo_pair(std::vector<CandidateFacts>{{false, 0, 0.9}}));
  EXPECT_FALSE(codpo_pair(std::vector<CandidateFacts>{{true, 0, 0.5}, {true, 0, 0.5}})) << "nothing to prefer";
  EXPECT_EQ(codpo_pair(std::vector<CandidateFacts>{{true, 0, 0.5}, {false, 0, 0.9}}), (PreferencePair{0, 1}));
}

TEST(OnlineDpo, TakesTheBestAndTheWorst) {
  EXPECT_EQ(best_and_worst(std::vector<CandidateFacts>{{true, 0, 0.5}, {true, 0, 0.2}, {true, 0, 0.9}}),
            (PreferencePair{2, 1}));
  EXPECT_EQ(best_and_worst(std::vector<CandidateFacts>{{true, 0, 0.5}, {false, 0, 0.9}, {true, 0, 0.5}}),
            (PreferencePair{0, 1}))
      << "a violator has the reward 0, and a tie goes to the lower index";
  EXPECT_FALSE(best_and_worst(std::vector<CandidateFacts>{{false, 0, 0.5}, {false, 0, 0.9}}));
}

TEST(Rloo, ComparesWithTheOthersOfThePrompt) {
  const std::vector<double> rewards = {0.1, 0.7, 0.4, 0.4};
  const auto advantages = rloo_advantages(rewards);
  for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(advantages[k], rewards[k] - (1.6 - rewards[k]) / 3, 1e-15);
  EXPECT_THAT(rloo_advantages(std::vector<double>(5, 0.1)), Each(0.0));
  RoundFacts facts = random_facts(5, 3, 4, 0.7);
  PolicyOptions options = options_for("rloo");
  options.kl_penalty = 0.5;
  const RoundTerms terms = round_terms(facts, options, kWeights);
  ASSERT_EQ(terms.terms.size(), 12U);
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<double> penalised;
    for (const CandidateFacts& c : facts.of_prompt(i))
      penalised.push_back((c.satisfied ? c.reward : 0.0) - 0.5 * c.log_ratio);
    const auto wanted = rloo_advantages(penalised);
    for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(terms.terms[4 * i + k].weight, wanted[k]);
  }
}

TEST(Grpo, MeasuresInDeviations) {
  const auto advantages = grpo_advantages(std::vector{0.0, 1.0});
  EXPECT_NEAR(advantages[1], 0.5 / (std::sqrt(0.5) + 1e-4), 1e-15);
  EXPECT_EQ(advantages[0], -advantages[1]);
  EXPECT_THAT(grpo_advantages(std::vector<double>(4, 0.3)), Each(0.0));
  RoundFacts facts = random_facts(5, 3, 4, 1.0);
  for (CandidateFacts& candidate : facts.candidates) candidate.reward = 0.5;
  PolicyOptions options = options_for("grpo");
  EXPECT_EQ(round_terms(facts, options, kWeights).terms.size(), 12U) << "the KL term remains";
  options.kl_penalty = 0;
  EXPECT_TRUE(round_terms(facts, options, kWeights).terms.empty());
}

TEST(EveryOptimizer, NeverReinforcesAViolator) {
  for (const PolicyOptimizer& optimizer : policy_optimizers())
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      const RoundFacts facts = random_facts(seed, 5, 4, 0.5);
      PolicyOptions options = options_for(optimizer.name);
      options.kl_penalty = 0;
      for (const Term& term : round_terms(facts, options, kWeights).terms) {
        if (term.response == kBaselineResponse || fact(facts, term.prompt, term.response).satisfied) continue;
        EXPECT_LE(term.weight, 0.0) << optimizer.name;
        EXPECT_EQ(term.rejected, kNoResponse) << optimizer.name << ": the chosen one of a pair";
      }
    }
}

TEST(EveryOptimizer, AddingAJudgeNeverAddsASurvivor) {  // invariant 6
  for (const PolicyOptimizer& optimizer : policy_optimizers()) {
    const PolicyOptions options = options_for(optimizer.name);
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      RoundFacts facts = random_facts(seed, 1, 6, 0.7);
      const std::int64_t before = num_survivors(facts.candidates, options);
      facts.candidates[seed % 6].satisfied = false;
      EXPECT_LE(num_survivors(facts.candidates, options), before);
    }
  }
}

TEST(EveryOptimizer, AShiftOfAPromptChangesNoTerm) {  // invariant 1: scores that binary numbers hold exactly
  for (const PolicyOptimizer& optimizer : policy_optimizers()) {
    const auto terms_of = [&](double shift) {
      RoundFacts facts = random_facts(2, 4, 4, 0.8);
      for (std::size_t j = 0; j < facts.candidates.size(); ++j) {
        const double score = 0.25 * static_cast<double>((7 * j) % 11);
        facts.candidates[j].reward = calibrated_reward(score + shift, 1.25 + shift);
      }
      return round_terms(facts, options_for(optimizer.name), kWeights).terms;
    };
    EXPECT_FALSE(terms_of(0).empty()) << optimizer.name;
    EXPECT_EQ(terms_of(0), terms_of(512)) << optimizer.name;
  }
}

TEST(EveryOptimizer, SkipsThePromptsWithoutATermInModeKept) {
  for (const std::string name : {"crraft", "raft", "best_of_n", "codpo", "online_dpo"}) {
    RoundFacts facts = random_facts(2, 4, 4, 1.0);
    for (std::size_t k = 0; k < 4; ++k) facts.candidates[k].satisfied = false;
    facts.baselines[0].satisfied = false;
    PolicyOptions options = options_for(name, kInfinity);
    EXPECT_EQ(round_terms(facts, options, kWeights).divisor, 4.0) << name;
    options.normalize = "kept";
    const RoundTerms kept = round_terms(facts, options, kWeights);
    EXPECT_EQ(kept.divisor, 3.0) << name;
    EXPECT_EQ(kept.terms.size(), 3U) << name;
  }
}

TEST(Weights, OneObjectiveOfWeightOneIsTheSameInBothReadings) {
  for (const PolicyOptimizer& optimizer : policy_optimizers()) {
    RoundFacts facts = random_facts(9, 5, 4, 0.7);
    for (std::size_t j = 0; j < facts.candidates.size(); ++j)
      facts.candidates[j].reward = facts.objective_rewards[j][1];
    PolicyOptions options = options_for(optimizer.name);
    const std::vector<double> second = {0.0, 1.0};
    const RoundTerms reward = round_terms(facts, options, second);
    options.weights_apply_to = "gradients";
    const RoundTerms gradients = round_terms(facts, options, second);
    ASSERT_EQ(reward.terms.size(), gradients.terms.size()) << optimizer.name;
    for (std::size_t t = 0; t < reward.terms.size(); ++t) {
      const Term &a = reward.terms[t], &b = gradients.terms[t];
      EXPECT_EQ(a.response, b.response);
      EXPECT_EQ(a.rejected, b.rejected);
      EXPECT_EQ(a.weight, b.weight);
      EXPECT_NEAR(a.scale / reward.divisor, b.scale / gradients.divisor, 1e-15);
    }
  }
}

TEST(Weights, GradientsOfObjectivesAddUp) {
  RoundFacts facts = random_facts(9, 5, 4, 1.0);
  PolicyOptions options = options_for("raft");
  options.weights_apply_to = "gradients";
  const RoundTerms both = round_terms(facts, options, kWeights);
  ASSERT_EQ(both.terms.size(), 10U);
  EXPECT_EQ(both.divisor, 1.0);
  for (std::size_t t = 0; t < 10; ++t) {
    const std::size_t objective = t / 5, prompt = t % 5;
    EXPECT_EQ(both.terms[t].scale, kWeights[objective] / 5);
    for (std::size_t k = 0; k < 4; ++k)
      EXPECT_LE(facts.objective_rewards[prompt * 4 + k][objective],
                facts.objective_rewards[prompt * 4 + static_cast<std::size_t>(both.terms[t].response)][objective]);
  }
  // For a policy gradient that is linear in the reward both readings agree.
  for (const std::string linear : {"crpg", "rloo"}) {
    options = options_for(linear);
    options.kl_penalty = 0;
    const RoundTerms sum = round_terms(facts, options, kWeights);
    options.weights_apply_to = "gradients";
    const RoundTerms parts = round_terms(facts, options, kWeights);
    ASSERT_EQ(parts.terms.size(), 2 * sum.terms.size());
    for (std::size_t t = 0; t < sum.terms.size(); ++t) {
      const Term &first = parts.terms[t], &second = parts.terms[t + sum.terms.size()];
      EXPECT_NEAR(first.scale * first.weight + second.scale * second.weight, sum.terms[t].weight / sum.divisor, 1e-15);
    }
  }
  // Weight 0 leaves an objective out, to the last bit.
  RoundFacts without = facts;
  for (auto& rewards : without.objective_rewards) rewards[1] = std::nan("");
  const std::vector<double> first_only = {0.7, 0.0};
  EXPECT_EQ(round_terms(facts, options, first_only).terms, round_terms(without, options, first_only).terms);
}

TEST(Losses, ClippedSurrogateStopsWhereTheRatioHasGoneFarEnough) {
  const at::Tensor drawn = at::zeros({4}, at::kDouble), advantages = at::tensor({1.0, -1.0, 1.0, -1.0}, at::kDouble);
  at::Tensor log_probs = at::tensor({0.5, 0.5, -0.5, -0.5}, at::kDouble).requires_grad_();
  clipped_surrogate(log_probs, drawn, advantages, 0.2).sum().backward();
  const at::Tensor gradient = log_probs.grad();
  EXPECT_EQ(gradient[0].item<double>(), 0.0) << "a good response that is likely enough";
  EXPECT_NEAR(gradient[1].item<double>(), -std::exp(0.5), 1e-12);
  EXPECT_NEAR(gradient[2].item<double>(), std::exp(-0.5), 1e-12);
  EXPECT_EQ(gradient[3].item<double>(), 0.0) << "a bad response that is unlikely enough";
}

TEST(Losses, KlEstimateHasTheRightMean) {
  const std::vector<double> p = {0.5, 0.3, 0.2}, q = {0.2, 0.2, 0.6};
  double mean = 0, kl = 0;
  for (std::size_t a = 0; a < 3; ++a) {
    const double one =
        kl_estimate(at::tensor(std::log(p[a]), at::kDouble), at::tensor(std::log(q[a]), at::kDouble)).item<double>();
    EXPECT_GE(one, 0.0);
    mean += p[a] * one;
    kl += p[a] * std::log(p[a] / q[a]);
  }
  EXPECT_NEAR(mean, kl, 1e-12);
}

TEST(Toy, BestOfNKeepsWithinItsKlBound) {  // invariant 10: log N - (N - 1) / N, reached by a continuous reward
  for (const std::size_t num_samples : {2U, 4U, 8U}) {
    constexpr std::size_t kPrompts = 60000, kBins = 40;
    RandomStream random(3, Purpose::kSampling, num_samples, 0);
    RoundFacts facts{num_samples, {}, std::vector<CandidateFacts>(kPrompts), {}};
    for (std::size_t j = 0; j < kPrompts * num_samples; ++j) facts.candidates.push_back({true, 0, random.uniform()});
    std::vector<double> chosen(kBins, 0.0);  // bins of equal probability under the reference
    for (const Term& term : round_terms(facts, options_for("best_of_n"), kWeights).terms)
      chosen[static_cast<std::size_t>(fact(facts, term.prompt, term.response).reward * kBins)] += 1.0 / kPrompts;
    double kl = 0;
    for (const double p : chosen)
      if (p > 0) kl += p * std::log(p * kBins);
    const auto n = static_cast<double>(num_samples);
    const double bound = std::log(n) - (n - 1) / n;
    EXPECT_NEAR(kl, bound, 0.015) << num_samples;  // 3 standard errors

    // With few values ties keep it below.
    for (CandidateFacts& candidate : facts.candidates) candidate.reward = std::floor(candidate.reward * 3);
    std::vector<double> few(3, 0.0);
    for (const Term& term : round_terms(facts, options_for("best_of_n"), kWeights).terms)
      few[static_cast<std::size_t>(fact(facts, term.prompt, term.response).reward)] += 1.0 / kPrompts;
    double discrete = 0;
    for (const double p : few)
      if (p > 0) discrete += p * std::log(p * 3);
    EXPECT_LT(discrete, bound - 0.015) << num_samples;
  }
}

std::string complaint_about(const PolicyOptions& options) {
  try {
    options.check();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Options, ContradictionsAreNamed) {
  for (const PolicyOptimizer& optimizer : policy_optimizers())
    EXPECT_EQ(complaint_about(options_for(optimizer.name)), "") << optimizer.name;
  for (const std::string name : {"codpo", "online_dpo", "rloo", "grpo"}) {
    PolicyOptions options = options_for(name);
    options.num_samples = 1;
    EXPECT_THAT(complaint_about(options), HasSubstr("num_samples"));
    options.num_samples = 4;
    options.length_norm = "tokens";
    EXPECT_THAT(complaint_about(options), HasSubstr("length_norm"));
  }
  EXPECT_THAT(complaint_about(options_for("crpg", 0)), HasSubstr("kl_max"));
  PolicyOptions options = options_for("crpg");
  options.steps_per_round = 2;
  EXPECT_THAT(complaint_about(options), HasSubstr("steps_per_round"));
  options = options_for("raft");
  options.weighting = "one";
  EXPECT_THAT(complaint_about(options), HasSubstr("weighting"));
  options = options_for("rloo");
  options.normalize = "kept";
  EXPECT_THAT(complaint_about(options), HasSubstr("normalize"));
  options = options_for("codpo");
  options.baseline_kl_check = true;
  EXPECT_THAT(complaint_about(options), HasSubstr("baseline_kl_check"));
  EXPECT_THAT(complaint_about(options_for("ppo")), HasSubstr("ppo"));
}

}  // namespace
}  // namespace rluf
