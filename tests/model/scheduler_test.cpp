#include "rluf/model/scheduler.hpp"

#include <gtest/gtest.h>

#include <set>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

using Tokens = std::vector<std::int32_t>;

std::uint64_t hash_of(std::span<const std::int32_t> tokens, std::uint64_t seed) {
  for (const std::int32_t token : tokens) seed = (seed ^ static_cast<std::uint64_t>(token)) * 1099511628211ull;
  return seed;
}

struct Prompt {
  Tokens tokens;
  std::int64_t num_samples;
};

/// Stands for a model: the cache holds, for every slot, all tokens up to its own, and a sequence's next token and end
/// are pure functions of its tokens and its sample.
class Simulation {
 public:
  Simulation(const SchedulerLimits& limits, std::int64_t max_tokens)
      : limits_(limits), max_tokens_(max_tokens), scheduler_(limits), cache_(Slots(limits)) {}

  /// All sequences to their ends. @return tokens of [prompt][sample], without the prompt
  std::vector<std::vector<Tokens>> run(const std::vector<Prompt>& prompts) {
    std::vector<std::vector<Tokens>> results;
    std::map<std::int64_t, Tokens> unfinished;
    std::map<std::int64_t, std::pair<std::size_t, std::size_t>> places;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      const std::int64_t first = scheduler_.add(prompts[p].tokens, prompts[p].num_samples);
      results.emplace_back(static_cast<std::size_t>(prompts[p].num_samples));
      for (std::size_t k = 0; k < results[p].size(); ++k) {
        unfinished[first + static_cast<std::int64_t>(k)] = prompts[p].tokens;
        places[first + static_cast<std::int64_t>(k)] = {p, k};
      }
    }
    while (scheduler_.num_unfinished() > 0) {
      EXPECT_EQ(scheduler_.num_unfinished(), std::ssize(unfinished));
      const StepPlan plan = scheduler_.plan();
      compute(plan, unfinished);
      for (const Run& run : plan.runs)
        for (const std::int64_t number : run.draws) {
          Tokens& tokens = unfinished.at(number);
          const auto& [p, k] = places.at(number);
          const std::uint64_t hash = hash_of(tokens, 7 + k);
          const auto token = static_cast<std::int32_t>(hash >> 40) % 3;
          const std::size_t length = tokens.size() - prompts[p].tokens.size() + 1;
          const bool ends = hash % 19 == 0 || static_cast<std::int64_t>(tokens.size()) + 1 == max_tokens_;
          tokens.push_back(token);
          results[p][k].push_back(token);
          EXPECT_EQ(results[p][k].size(), length);
          scheduler_.drawn(number, token, ends);
          if (ends) unfinished.erase(number);
        }
    }
    EXPECT_TRUE(unfinished.empty());
    EXPECT_EQ(scheduler_.pool().num_free(), limits_.num_blocks) << "blocks are lost";
    return results;
  }
  const SchedulerCounts& counts() const { return scheduler_.counts(); }

 private:
  static std::vector<std::vector<Tokens>> Slots(const SchedulerLimits& limits) {
    return {static_cast<std::size_t>(limits.num_blocks),
            std::vector<Tokens>(static_cast<std::size_t>(limits.block_tokens))};
  }
  Tokens& slot(const Run& run, std::int64_t position) {
    const auto block = run.blocks[static_cast<std::size_t>(position / limits_.block_tokens)];
    return cache_.at(static_cast<std::size_t>(block)).at(static_cast<std::size_t>(position % limits_.block_tokens));
  }

  /// Writes all slots of a step, then looks whether every sequence finds its own tokens.
  void compute(const StepPlan& plan, const std::map<std::int64_t, Tokens>& unfinished) {
    for (const auto& [from, to] : plan.copies)
      cache_.at(static_cast<std::size_t>(to)) = cache_.at(static_cast<std::size_t>(from));
    std::int64_t prompt_tokens = 0;
    std::set<std::int64_t> seen;
    for (const Run& run : plan.runs) {
      const Tokens& tokens = unfinished.at(run.sequence);
      EXPECT_TRUE(seen.insert(run.sequence).second) << "a sequence stands twice in a step";
      const std::int64_t last = run.first + std::ssize(run.tokens);
      EXPECT_LE(last, std::ssize(tokens));
      EXPECT_EQ(run.draws.empty(), last < std::ssize(tokens));
      for (std::int64_t t = run.first; t < last; ++t) {
        EXPECT_EQ(run.tokens[static_cast<std::size_t>(t - run.first)], tokens[static_cast<std::size_t>(t)]);
        slot(run, t) = {tokens.begin(), tokens.begin() + t + 1};
      }
      if (run.draws.empty() || run.tokens.size() > 1) prompt_tokens += std::ssize(run.tokens);
    }
    EXPECT_LE(prompt_tokens, limits_.prefill_tokens);
    for (const Run& run : plan.runs) {
      const Tokens& tokens = unfinished.at(run.sequence);
      for (std::int64_t t = 0; t < run.first + std::ssize(run.tokens); ++t)
        ASSERT_EQ(slot(run, t), Tokens(tokens.begin(), tokens.begin() + t + 1)) << "a block holds something else";
    }
  }

  SchedulerLimits limits_;
  std::int64_t max_tokens_;
  Scheduler scheduler_;
  std::vector<std::vector<Tokens>> cache_;
};

Tokens pattern(std::size_t length, std::int32_t kind) {
  Tokens tokens;
  for (std::size_t t = 0; t < length; ++t) tokens.push_back(static_cast<std::int32_t>(t * t + t / 3) % 5 + 10 * kind);
  return tokens;
}

TEST(Scheduler, LimitsChangeNoTokenAndNoBlockIsLost) {
  constexpr std::int64_t kMaxTokens = 40;
  std::int64_t times_set_back = 0, shared_tokens = 0;
  for (std::uint64_t trial = 0; trial < 60; ++trial) {
    RandomStream random(trial, Purpose::kSimulation);
    const auto up_to = [&](std::uint64_t n) { return 1 + static_cast<std::int64_t>(random.below(n)); };
    std::vector<Prompt> prompts;
    for (std::int64_t p = up_to(12); p > 0; --p)  // of three kinds, so that many begin alike
      prompts.push_back(
          {pattern(static_cast<std::size_t>(up_to(30)), static_cast<std::int32_t>(random.below(3))), up_to(5)});
    const auto wanted =
        Simulation({.num_blocks = 1000, .block_tokens = 4, .max_running = 100, .prefill_tokens = 1000}, kMaxTokens)
            .run(prompts);
    for (int variant = 0; variant < 6; ++variant) {
      const std::int64_t block_tokens = up_to(8), enough = (kMaxTokens + block_tokens - 1) / block_tokens;
      const SchedulerLimits limits{.num_blocks = enough + (variant == 0 ? 0 : up_to(20) - 1),
                                   .block_tokens = block_tokens,
                                   .max_running = up_to(12),
                                   .prefill_tokens = variant == 1 ? 1 : up_to(20)};
      Simulation simulation(limits, kMaxTokens);
      EXPECT_EQ(simulation.run(prompts), wanted) << trial << " " << variant;
      times_set_back += simulation.counts().times_set_back;
      shared_tokens += simulation.counts().shared_tokens;
    }
  }
  EXPECT_GT(times_set_back, 1000);
  EXPECT_GT(shared_tokens, 10000);
}

TEST(Scheduler, SamplesShareThePromptAndCopyItsLastBlock) {
  Scheduler scheduler({.num_blocks = 100, .block_tokens = 4, .max_running = 10, .prefill_tokens = 100});
  const Tokens prompt = pattern(10, 1);
  const std::int64_t first = scheduler.add(prompt, 3);
  StepPlan plan = scheduler.plan();
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].draws, (std::vector<std::int64_t>{first, first + 1, first + 2}));
  EXPECT_EQ(scheduler.pool().num_free(), 97) << "three samples in the prompt's three blocks";
  for (std::int64_t k = 0; k < 3; ++k) scheduler.drawn(first + k, static_cast<std::int32_t>(k), false);
  plan = scheduler.plan();
  EXPECT_EQ(plan.runs.size(), 3u);
  EXPECT_EQ(plan.copies.size(), 2u) << "the last holder writes into the block itself";
  EXPECT_EQ(scheduler.pool().num_free(), 95);
  for (std::int64_t k = 0; k < 3; ++k) scheduler.drawn(first + k, 0, true);
  EXPECT_EQ(scheduler.pool().num_free(), 100);
}

TEST(Scheduler, PromptsThatBeginAlikeShareFullBlocks) {
  Scheduler scheduler({.num_blocks = 100, .block_tokens = 4, .max_running = 10, .prefill_tokens = 100});
  Tokens one = pattern(8, 1), other = one;
  one.insert(one.end(), {1, 2, 3});
  other.insert(other.end(), {4, 5, 6, 7, 8});
  scheduler.add(one, 1);
  scheduler.add(other, 1);
  const StepPlan plan = scheduler.plan();
  ASSERT_EQ(plan.runs.size(), 2u);
  EXPECT_EQ(plan.runs[1].first, 8) << "in the same step already";
  EXPECT_EQ(plan.runs[0].blocks[1], plan.runs[1].blocks[1]);
  EXPECT_NE(plan.runs[0].blocks[2], plan.runs[1].blocks[2]);
  EXPECT_EQ(scheduler.counts().shared_tokens, 8);
}

TEST(Scheduler, AFinishedSequenceGivesItsPlaceToAWaitingOneInTheNextStep) {
  Scheduler scheduler({.num_blocks = 100, .block_tokens = 4, .max_running = 2, .prefill_tokens = 100});
  for (std::int32_t p = 0; p < 3; ++p) scheduler.add(pattern(5, p), 1);
  EXPECT_EQ(scheduler.plan().runs.size(), 2u);
  scheduler.drawn(0, 1, true);
  scheduler.drawn(1, 1, false);
  const StepPlan plan = scheduler.plan();
  ASSERT_EQ(plan.runs.size(), 2u);
  EXPECT_EQ(plan.runs[0].sequence, 1);
  EXPECT_EQ(plan.runs[1].sequence, 2);
}

TEST(Scheduler, TheYoungestIsSetBackAndComesAgainWithItsTokens) {
  Scheduler scheduler({.num_blocks = 2, .block_tokens = 2, .max_running = 2, .prefill_tokens = 100});
  scheduler.add(Tokens{1, 2}, 1);
  scheduler.add(Tokens{3}, 1);
  EXPECT_EQ(scheduler.plan().runs.size(), 1u) << "it would soon be set back";
  scheduler.drawn(0, 5, false);
  EXPECT_EQ(scheduler.plan().runs.size(), 1u);
  scheduler.drawn(0, 6, false);
  StepPlan plan = scheduler.plan();
  EXPECT_EQ(plan.runs.size(), 1u);
  scheduler.drawn(0, 7, true);
  plan = scheduler.plan();
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].sequence, 1);
  scheduler.drawn(1, 4, true);
  EXPECT_EQ(scheduler.pool().num_free(), 2);

  Scheduler full({.num_blocks = 4, .block_tokens = 2, .max_running = 2, .prefill_tokens = 100});
  full.add(Tokens{1, 2}, 2);
  full.plan();
  for (int step = 0; step < 3; ++step) {  // each sequence adds 2 blocks to the one that they share
    full.drawn(0, step, false);
    if (full.counts().times_set_back == 0) full.drawn(1, 10 + step, false);
    plan = full.plan();
  }
  EXPECT_EQ(full.counts().times_set_back, 1);
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].sequence, 0);
  full.drawn(0, 3, true);
  plan = full.plan();
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].sequence, 1);
  EXPECT_EQ(plan.runs[0].first, 4) << "the prompt's block and its own first one are still there";
  EXPECT_EQ(Tokens(plan.runs[0].tokens.begin(), plan.runs[0].tokens.end()), Tokens{12});
  full.drawn(1, 13, true);
  EXPECT_EQ(full.pool().num_free(), 4);
}

}  // namespace
}  // namespace rluf
