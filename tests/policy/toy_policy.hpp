#pragma once
// A tiny random Llama in training on rewards that count words.
#include <ATen/ATen.h>

#include <functional>
#include <numeric>
#include <optional>
#include <set>

#include "rluf/pipeline/policy/policy_round.hpp"
#include "rluf/pipeline/policy/policy_to_train.hpp"

namespace rluf {

inline LlamaConfig tiny_config() {
  LlamaConfig config;
  config.vocab_size = 24;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.eos_token_ids = {23};
  return config;
}

/// Token t is the word "w<t>"; 23 ends a response and has no text.
inline std::string decode(const TokenIds& ids) {
  std::string text;
  for (const auto id : ids)
    if (id != 23) text += "w" + std::to_string(id) + " ";
  return text;
}

inline double number_of(const std::string& text, const std::string& word) {
  double count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) count += 1;
  return count;
}

inline Objective toy(const std::string& name, double weight, const std::string& word, double scale = 0.7) {
  return {name,
          weight,
          [word, scale](const std::vector<PromptedResponse>& responses) {
            std::vector<double> scores;
            for (const auto& response : responses) scores.push_back(scale * number_of(response.text, word));
            return scores;
          },
          {}};
}

/// A policy in training on toy objectives, with everything that the rounds need.
class Toy {
 public:
  Toy(
      std::vector<Objective> objectives, PolicyOptions options, Communicator data,
      const std::function<std::string(std::int64_t)>& task = [](std::int64_t) { return ""; })
      : data_(std::move(data)),
        options_(std::move(options)),
        objectives_(std::move(objectives)),
        judges_(make_judges(options_.judges)),
        watching_(make_watching_judges(options_.judges)),
        reference_(tiny_config(), 3, at::kCPU),
        policy_(policy_to_train(reference_, options_.train)),
        setting_{options_, reference_, objectives_, judges_, {"w1"}, decode, {23}, 11, data_} {
    std::set<std::string> tasks;
    for (std::int64_t p = 0; p < options_.prompts_per_round; ++p) {
      prompts_.push_back({p, {{"user", "?"}}, {1, static_cast<std::int32_t>(2 + p), 3}});
      prompts_.back().constraints.task = task(p);
      if (const std::string name = task(p); !name.empty()) tasks.insert(name);
      BaselineResponse baseline{{{4, 5, 23}, {}, true}, "w4 w5 ", {}};
      for (const Objective& objective : objectives_)
        baseline.scores.push_back(objective.score({{&prompts_.back(), baseline.text}}).raw.at(0));
      baselines_.push_back(baseline);
    }
    setting_.tasks.assign(tasks.begin(), tasks.end());
    setting_.watching = &watching_;
    make_trainable(policy_, options_.train, 11);
    optimizer_.emplace(policy_, options_.train, data_);
  }
  RoundMetrics run(std::int64_t round, std::vector<WatchedPrompt>* watched = nullptr) {
    std::vector<const Prompt*> prompts;
    std::vector<const BaselineResponse*> baselines;
    for (const auto& prompt : prompts_) prompts.push_back(&prompt);
    for (const auto& baseline : baselines_) baselines.push_back(&baseline);
    return policy_round(policy_, *optimizer_, setting_, prompts, baselines, round, watched);
  }
  /// Of many responses of the policy as it is, by the first objective. @collective
  double mean_score() const {
    GenerationOptions generation = options_.generation();
    generation.num_samples = 40;
    generation.stop_ids = {23};
    std::vector<PromptedResponse> responses;
    for (const Prompt& prompt : prompts_) {
      const auto samples = generate_over_ranks(policy_, {prompt.tokens}, {prompt.id}, generation, data_);
      for (const Sample& sample : samples.at(0)) responses.push_back({&prompt, decode(sample.tokens)});
    }
    const std::vector<double> scores = objectives_.at(0).score(responses).raw;
    return std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
  }
  Llama& policy() { return policy_; }
  const Llama& reference() const { return reference_; }
  const std::vector<Prompt>& prompts() const { return prompts_; }
  AdamW& optimizer() { return *optimizer_; }

 private:
  Communicator data_;
  PolicyOptions options_;
  std::vector<Objective> objectives_;
  Judges judges_, watching_;
  Llama reference_, policy_;
  std::vector<Prompt> prompts_;
  std::vector<BaselineResponse> baselines_;
  std::optional<AdamW> optimizer_;
  RoundSetting setting_;
};

inline PolicyOptions toy_options() {
  PolicyOptions options;
  options.prompts_per_round = 7;
  options.batching.prompts_per_batch = 2;
  options.max_new_tokens = 6;
  options.rounds = 3;
  options.train.learning_rate = 1e-2;
  options.train.warmup_steps = 0;
  options.train.micro_batch_tokens = 20;
  options.judges.names = {};
  return options;
}

inline double largest_difference(const Llama& a, const Llama& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    largest = std::max(
        largest, (a.parameters()[i].second.detach() - b.parameters()[i].second.detach()).abs().max().item<double>());
  return largest;
}

}  // namespace rluf
