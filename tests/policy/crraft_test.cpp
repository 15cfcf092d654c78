// The invariants of CRRAFT that need no model (CGPO section 4.3), on hand-made numbers and a tabular policy.
#include "rluf/pipeline/policy/crraft.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/pipeline/judges/judges.hpp"

namespace rluf {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const CandidateFacts kBaseline{true, 0.0, 0.5};

TEST(CalibratedReward, IsTheLogisticOfTheDifference) {
  EXPECT_EQ(calibrated_reward(3.25, 3.25), 0.5);
  EXPECT_NEAR(calibrated_reward(2, 1), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(calibrated_reward(1, 2), 0.2689414213699951, 1e-15);
  EXPECT_EQ(calibrated_reward(1000, -1000), 1.0);
  EXPECT_EQ(calibrated_reward(-1000, 1000), 0.0);
}

TEST(CalibratedReward, AShiftOfAPromptChangesNothing) {  // invariant 1
  // Shifts and scores that binary numbers hold exactly, so the comparison can be exact.
  const std::vector<double> scores = {0.5, 1.25, -0.75, 1.0};
  const auto rewards = [&](double shift) {
    std::vector<CandidateFacts> facts;
    for (const double score : scores) facts.push_back({true, 0.0, calibrated_reward(score + shift, 0.25 + shift)});
    return facts;
  };
  const auto plain = rewards(0);
  for (const double shift : {-64.0, 0.5, 1024.0}) {
    const auto shifted = rewards(shift);
    for (std::size_t k = 0; k < scores.size(); ++k) EXPECT_EQ(plain[k].reward, shifted[k].reward);
    const Choice a = choose_response(plain, kBaseline, {kInfinity}),
                 b = choose_response(shifted, kBaseline, {kInfinity});
    EXPECT_EQ(a.candidate, 1);
    EXPECT_EQ(a.candidate, b.candidate);
    EXPECT_EQ(a.weight, b.weight);
  }
}

TEST(CombinedReward, AddsWeightedObjectives) {
  EXPECT_NEAR(combined_reward(std::vector{0.6, 0.4, 0.9}, std::vector{0.7, 0.3, 0.3}), 0.42 + 0.12 + 0.27, 1e-15);
  const auto normalized = normalized_weights(std::vector{0.7, 0.3, 0.3});
  EXPECT_NEAR(normalized[0] + normalized[1] + normalized[2], 1.0, 1e-15);
  EXPECT_NEAR(normalized[0], 0.7 / 1.3, 1e-15);
  EXPECT_THROW(normalized_weights(std::vector{0.0, 0.0}), Error);
}

TEST(CombinedReward, WeightZeroIsTheRunWithoutTheObjective) {  // invariant 8, even where love is not a number
  const double without = combined_reward(std::vector{0.61, 0.37}, std::vector{0.7, 0.3});
  EXPECT_EQ(combined_reward(std::vector{0.61, 0.37, 0.99}, std::vector{0.7, 0.3, 0.0}), without);
  EXPECT_EQ(combined_reward(std::vector{0.61, 0.37, std::nan("")}, std::vector{0.7, 0.3, 0.0}), without);
}

TEST(Choice, TakesTheBestSurvivor) {
  const std::vector<CandidateFacts> facts = {{true, 1.0, 0.4}, {false, 0.0, 0.9}, {true, 5.0, 0.8}, {true, 2.0, 0.6}};
  const Choice choice = choose_response(facts, kBaseline, {4.0});
  EXPECT_EQ(choice.source, Source::kCandidate);
  EXPECT_EQ(choice.candidate, 3);
  EXPECT_EQ(choice.weight, 0.6);
  EXPECT_EQ(choice.num_satisfied, 3);
  EXPECT_EQ(choice.num_survivors, 2);
  EXPECT_EQ(choose_response(facts, kBaseline, {5.0}).candidate, 2) << "the cap itself is allowed";
}

TEST(Choice, ATieGoesToTheLowerIndex) {  // invariant 7
  const std::vector<CandidateFacts> facts = {{false, 0, 0.7}, {true, 0, 0.7}, {true, 0, 0.7}, {true, 0, 0.2}};
  EXPECT_EQ(choose_response(facts, kBaseline, {1.0}).candidate, 1);
}

TEST(Choice, WithoutSurvivorTheBaselineWeighsExactlyOneHalf) {  // invariant 3
  const std::vector<CandidateFacts> facts = {{false, 0, 0.9}, {true, 9, 0.9}, {true, std::nan(""), 0.9}};
  const Choice choice = choose_response(facts, {true, 99.0, calibrated_reward(2, 2)}, {1.0});
  EXPECT_EQ(choice.source, Source::kBaseline);
  EXPECT_EQ(choice.candidate, -1);
  EXPECT_EQ(choice.weight, 0.5);
  EXPECT_EQ(choice.num_survivors, 0);
  EXPECT_EQ(choose_response(facts, {true, 99.0, 0.5}, {1.0, true}).source, Source::kSkipped) << "KL check of a_bar";
  EXPECT_EQ(choose_response(facts, {true, 1.0, 0.5}, {1.0, true}).source, Source::kBaseline);
}

TEST(Choice, ASkippedPromptIsInNoSum) {  // invariant 3
  const std::vector<CandidateFacts> facts = {{false, 0, 0.9}};
  const Choice skipped = choose_response(facts, {false, 0, 0.5}, {1.0});
  EXPECT_EQ(skipped.source, Source::kSkipped);
  EXPECT_EQ(skipped.weight, 0.0);
  const Choice kept{Source::kCandidate, 0, 0.8, 1, 1};
  const std::vector<Choice> choices = {kept, skipped};
  const std::vector<double> log_probs = {-10, std::nan("")};
  const std::vector<std::int64_t> tokens = {4, 0};
  EXPECT_EQ(step_divisor(choices, Divisor::kBatch), 2);
  EXPECT_EQ(step_divisor(choices, Divisor::kKept), 1);
  EXPECT_DOUBLE_EQ(crraft_loss(choices, log_probs, tokens, Divisor::kBatch, LengthNorm::kNone), 4.0);
  EXPECT_DOUBLE_EQ(crraft_loss(choices, log_probs, tokens, Divisor::kKept, LengthNorm::kNone), 8.0);
  EXPECT_DOUBLE_EQ(crraft_loss(choices, log_probs, tokens, Divisor::kKept, LengthNorm::kTokens), 2.0);
  EXPECT_EQ(crraft_loss(std::vector{skipped}, std::vector{0.0}, std::vector<std::int64_t>{0}, Divisor::kKept,
                        LengthNorm::kNone),
            0.0);
}

TEST(Choice, WithoutJudgesCapAndWeightsItIsRaft) {  // invariant 2
  const CrraftRules raft{kInfinity, false, Weighting::kOne};
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, Purpose::kSimulation);
    std::vector<CandidateFacts> facts;
    std::vector<double> rewards;
    for (int k = 0; k < 4; ++k) {
      rewards.push_back(random.uniform());
      facts.push_back({true, 100 * random.normal(), rewards.back()});
    }
    const Choice choice = choose_response(facts, kBaseline, raft);
    EXPECT_EQ(choice.candidate, std::max_element(rewards.begin(), rewards.end()) - rewards.begin());
    EXPECT_EQ(choice.weight, 1.0);
    const Choice alone = choose_response(std::span(facts).first(1), kBaseline, raft);
    EXPECT_EQ(alone.candidate, 0) << "N = 1 is on-policy fine-tuning";
    EXPECT_EQ(alone.weight, 1.0);
  }
}

TEST(RoundPrompts, ArePureAndVisitEachPromptOnceAnEpoch) {
  std::set<std::int64_t> seen;
  for (std::int64_t round = 0; round < 5; ++round)
    for (const std::int64_t i : round_prompts(23, 4, 7, round)) {
      EXPECT_TRUE(i >= 0 && i < 23);
      EXPECT_TRUE(seen.insert(i).second) << "twice in an epoch";
    }
  EXPECT_EQ(seen.size(), 20U);
  EXPECT_EQ(round_prompts(23, 4, 7, 3), round_prompts(23, 4, 7, 3));
  EXPECT_NE(round_prompts(23, 4, 7, 0), round_prompts(23, 4, 7, 5)) << "a new epoch has a new order";
  EXPECT_NE(round_prompts(23, 4, 7, 0), round_prompts(23, 4, 8, 0));
}

// --- a tabular softmax policy over canned responses ---
struct Canned {
  std::string text;
  double helpfulness, safety, love;
};
// The toy love score overrates the closing phrase; the gold (helpfulness) is lower there.
const std::vector<Canned> kCanned = {{"a full and useful answer", 1.0, 0.5, 0.2},
                                     {"a short answer", 0.4, 0.5, 0.1},
                                     {"a friendly answer", 0.8, 0.5, 0.5},
                                     {"Bye! Sending Love!", -0.2, 0.4, 4.0},
                                     {"nothing of use", -1.0, 0.3, 0.0}};

std::vector<double> softmax(const std::vector<double>& logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (const double logit : logits) sum += p.emplace_back(std::exp(logit - most));
  for (double& value : p) value /= sum;
  return p;
}

std::size_t draw(const std::vector<double>& p, double uniform) {
  for (std::size_t a = 0; a + 1 < p.size(); ++a)
    if ((uniform -= p[a]) < 0) return a;
  return p.size() - 1;
}

struct ToyResult {
  double closing_rate, gold;
};
ToyResult train_toy(double love_weight, const std::string& forbidden) {
  JudgeOptions judge_options{.names = {"forbidden_phrases"}, .forbidden_phrases = forbidden};
  const Judges judges = make_judges(judge_options);
  const std::vector<double> reference = softmax({0, 0, 0, -1, 0}), weights = {0.7, 0.3, love_weight};
  std::vector<double> logits = {0, 0, 0, -1, 0};
  for (std::uint64_t round = 0; round < 60; ++round) {
    const auto policy = softmax(logits);
    std::vector<double> gradient(kCanned.size(), 0.0);
    constexpr int kPrompts = 32;
    for (int i = 0; i < kPrompts; ++i) {
      RandomStream random(1, Purpose::kSampling, round, static_cast<std::uint64_t>(i));
      const Canned& bar = kCanned[draw(reference, random.uniform())];
      std::vector<CandidateFacts> facts;
      std::vector<std::size_t> actions;
      const auto facts_of = [&](std::size_t a) {
        const Canned& r = kCanned[a];
        const std::vector<double> rewards = {calibrated_reward(r.helpfulness, bar.helpfulness),
                                             calibrated_reward(r.safety, bar.safety),
                                             calibrated_reward(r.love, bar.love)};
        return CandidateFacts{judge_responses(judges, {{nullptr, r.text, true, 1, {}, {}}}).at(0).satisfied,
                              std::log(policy[a] / reference[a]), combined_reward(rewards, weights)};
      };
      for (int k = 0; k < 4; ++k) {
        actions.push_back(draw(policy, random.uniform()));
        facts.push_back(facts_of(actions.back()));
      }
      const Choice choice = choose_response(facts, {false, 0, 0}, {kInfinity});
      if (choice.source != Source::kCandidate) continue;
      const std::size_t a = actions[static_cast<std::size_t>(choice.candidate)];
      for (std::size_t b = 0; b < logits.size(); ++b)
        gradient[b] += choice.weight * ((a == b ? 1.0 : 0.0) - policy[b]) / kPrompts;
    }
    for (std::size_t b = 0; b < logits.size(); ++b) logits[b] += 0.2 * gradient[b];
  }
  const auto policy = softmax(logits);
  double gold = 0;
  for (std::size_t a = 0; a < policy.size(); ++a) gold += policy[a] * kCanned[a].helpfulness;
  return {policy[3], gold};
}

TEST(Toy, AnOverratedClosingRisesWithTheLoveWeightAndAJudgeStopsIt) {  // invariant 9
  const double start = softmax({0, 0, 0, -1, 0})[3];
  const ToyResult none = train_toy(0.0, ""), moderate = train_toy(0.3, ""), aggressive = train_toy(1.0, "");
  EXPECT_LT(none.closing_rate, start);
  EXPECT_LT(none.closing_rate, moderate.closing_rate);
  EXPECT_LT(moderate.closing_rate, aggressive.closing_rate);
  EXPECT_GT(aggressive.closing_rate, 2 * start);
  EXPECT_GT(none.gold, moderate.gold);
  EXPECT_GT(moderate.gold, aggressive.gold);
  const ToyResult judged = train_toy(1.0, "sending  LOVE");
  EXPECT_LT(judged.closing_rate, start);
  EXPECT_GT(judged.gold, aggressive.gold);
}

TEST(Toy, BestOfFourKeepsWithinItsKlBound) {  // invariant 10
  // Choice by a continuous score: P(a* = a) over a fine discrete policy; KL(best of 4 || policy) -> ln 4 - 3/4.
  constexpr int kActions = 4000, kDraws = 200000;
  std::vector<double> chosen(40, 0.0);  // in bins of equal probability
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random(3, Purpose::kSampling, 0, static_cast<std::uint64_t>(i));
    std::vector<CandidateFacts> facts;
    std::vector<std::uint64_t> actions;
    for (int k = 0; k < 4; ++k) {
      actions.push_back(random.below(kActions));
      facts.push_back({true, 0.0, calibrated_reward(static_cast<double>(actions.back()) / 1000.0, 2.0)});
    }
    const Choice choice = choose_response(facts, kBaseline, {kInfinity});
    chosen[actions[static_cast<std::size_t>(choice.candidate)] * 40 / kActions] += 1.0 / kDraws;
  }
  double kl = 0;
  for (const double p : chosen)
    if (p > 0) kl += p * std::log(p * 40);
  const double bound = std::log(4.0) - 0.75;
  EXPECT_LE(kl, bound + 0.002);
  EXPECT_NEAR(kl, bound, 0.01);
}

TEST(Judges, AddingAJudgeNeverAddsASatisfiedResponse) {  // invariant 6
  const std::vector<std::string> names = {"well_formed", "length", "forbidden_phrases", "repetition", "safety"};
  RandomStream random(5, Purpose::kSimulation);
  const std::vector<std::string> words = {"bye", "love", "answer", "the", "\xE4\xBD\xA0"};
  for (int i = 0; i < 300; ++i) {
    JudgedResponse response;
    for (std::uint64_t w = random.below(12); w > 0; --w) response.text += words[random.below(words.size())] + " ";
    response.finished = random.uniform() < 0.7;
    if (random.uniform() < 0.8) response.safety_relative = random.uniform();
    bool before = true;
    JudgeOptions options{.names = {}, .min_words = 3, .forbidden_phrases = "bye love"};
    for (const std::string& name : names) {
      options.names.push_back(name);
      const JudgeOutcome outcome = judge_responses(make_judges(options), {response}).at(0);
      EXPECT_LE(outcome.satisfied, before);
      for (const Verdict verdict : outcome.verdicts)
        if (verdict != Verdict::kSatisfied) {
          EXPECT_FALSE(outcome.satisfied);
        }
      before = outcome.satisfied;
    }
  }
}

}  // namespace
}  // namespace rluf
