// CRRAFT rounds with a small Llama and toy rewards, on the GPU and on the CPU: the same choices, the same numbers.
#include <cmath>

#include "gpu.hpp"
#include "rluf/pipeline/policy/policy_round.hpp"

namespace rluf {
namespace {

std::string decode(const TokenIds& ids) {
  std::string text;
  for (const auto id : ids)
    if (id != 1) text += "w" + std::to_string(id % 16) + " ";
  return text;
}

/// Counts a word; the more, the better.
Objective toy(const std::string& name, double weight, const std::string& word) {
  const auto score = [word](const std::vector<PromptedResponse>& responses) {
    std::vector<double> scores;
    for (const auto& response : responses) {
      double count = 0;
      for (std::size_t at = response.text.find(word); at != std::string::npos; at = response.text.find(word, at + 1))
        count += 1;
      scores.push_back(0.7 * count);
    }
    return scores;
  };
  return {name, weight, score, [](double raw) { return 1 / (1 + std::exp(-raw)); }};
}

std::vector<RoundMetrics> rounds_on(at::Device device) {
  PolicyOptions options;
  options.prompts_per_round = 6;
  options.batching.prompts_per_batch = 3;
  options.max_new_tokens = 12;
  options.rounds = 2;
  options.train.learning_rate = 1e-3;
  options.train.warmup_steps = 0;
  options.train.micro_batch_tokens = 64;
  options.judges.names = {"repetition"};
  const Communicator self = Communicator::self();
  const std::vector<Objective> objectives{toy("helpfulness", 0.7, "w7 "), toy("love", 0.3, "w3 ")};
  const Judges judges = make_judges(options.judges);
  const Llama reference(small_llama(), 3, device);
  Llama policy = reference.clone();
  policy.set_trainable_layers(-1);
  AdamW optimizer(policy, options.train, self);
  const RoundSetting setting{options, reference, objectives, judges, {"w1"}, decode, {1}, 11, self};
  std::vector<Prompt> prompts;
  std::vector<BaselineResponse> baselines;
  const auto documents = documents_of_lengths({3, 8, 5, 13, 4, 6}, 512);
  for (std::size_t p = 0; p < documents.size(); ++p) {
    prompts.push_back({static_cast<std::int64_t>(p), {{"user", "?"}}, documents[p]});
    baselines.push_back({{{4, 5, 1}, {}, true}, "w4 w5 ", {0.0, 0.0}});
  }
  std::vector<const Prompt*> some_prompts;
  std::vector<const BaselineResponse*> some_baselines;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    some_prompts.push_back(&prompts[p]);
    some_baselines.push_back(&baselines[p]);
  }
  std::vector<RoundMetrics> metrics;
  for (std::int64_t round = 0; round < options.rounds; ++round)
    metrics.push_back(policy_round(policy, optimizer, setting, some_prompts, some_baselines, round));
  return metrics;
}

using CrraftOnGpu = OnGpu;

TEST_F(CrraftOnGpu, RoundsEqualTheCpu) {
  const auto wanted = rounds_on(at::kCPU), found = rounds_on(gpu);
  for (std::size_t round = 0; round < wanted.size(); ++round)
    for (const auto& [name, value] : wanted[round])
      if (!name.ends_with("_seconds")) {
        EXPECT_NEAR(found[round].at(name), value, 1e-3 * std::max(1.0, std::abs(value))) << name << ", round " << round;
      }
  for (const char* part : {"generation_seconds", "scoring_seconds", "training_seconds"})
    if (found[1].contains(part)) figure(std::string("CRRAFT round, ") + part, found[1].at(part), "s");
}

}  // namespace
}  // namespace rluf
