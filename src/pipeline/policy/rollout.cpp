#include "rollout.hpp"

#include <cmath>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"

namespace rluf {
namespace {

/// Of prompts that ask for equally many responses.
std::vector<std::vector<Sample>> draw(const Llama& model, const RoundSetting& setting,
                                      const std::vector<const Prompt*>& prompts, std::int64_t num_samples,
                                      std::int64_t round) {
  GenerationOptions generation = setting.options.generation();
  generation.stop_ids = setting.stop_ids;
  generation.seed = setting.seed;
  generation.round = static_cast<std::uint64_t>(round) + 1;  // 0 drew the baseline responses
  // A stream is named by id * num_samples + k, so that other numbers of samples need other rounds.
  if (num_samples != generation.num_samples) generation.round += static_cast<std::uint64_t>(num_samples) << 32;
  generation.num_samples = num_samples;
  std::vector<TokenIds> tokens;
  std::vector<std::int64_t> ids;
  for (const Prompt* prompt : prompts) {
    tokens.push_back(prompt->tokens);
    ids.push_back(prompt->id);
  }
  return generate_over_ranks(model, tokens, ids, generation, setting.data);
}

double sum_log_probs(const Sample& sample) {
  double sum = 0;
  for (const float value : sample.log_probs) sum += value;
  return sum;
}

}  // namespace

void add_log_ratios(Rollout& rollout, const Llama& policy, const RoundSetting& setting) {
  const bool drawn_by_policy = !policy_optimizer(setting.options.optimizer).draws_from_reference;
  const auto log_probs = [&](const Llama& model) {
    return response_log_probs(model, rollout.documents, setting.options.train.micro_batch_tokens, setting.data,
                              "policy KL");
  };
  const std::vector<double> reference = log_probs(setting.reference);
  std::vector<double>& ratios = rollout.log_ratios;
  if (!drawn_by_policy) ratios = log_probs(policy);
  for (std::size_t i = 0; i < reference.size(); ++i) {
    if (drawn_by_policy) ratios.push_back(sum_log_probs(rollout.samples[i]));
    ratios[i] -= reference[i];
    if (!std::isfinite(ratios[i]))
      fail_data(concat("the log-ratio of a response to prompt ", rollout.responses[i].prompt->id, " is ", ratios[i]),
                "the KL cap cannot be applied", "lower policy.learning_rate, and check the models");
  }
}

Document join(const TokenIds& prompt, const TokenIds& response) {
  Document document{prompt, static_cast<std::int64_t>(prompt.size())};
  document.tokens.insert(document.tokens.end(), response.begin(), response.end());
  return document;
}

Rollout draw_rollout(const Llama& policy, const RoundSetting& setting, const std::vector<const Prompt*>& prompts,
                     const std::vector<std::int64_t>& num_samples, std::int64_t round) {
  const bool drawn_by_policy = !policy_optimizer(setting.options.optimizer).draws_from_reference;
  std::map<std::int64_t, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < prompts.size(); ++i) groups[num_samples[i]].push_back(i);
  std::vector<std::vector<Sample>> drawn(prompts.size());
  for (const auto& [samples_each, positions] : groups) {
    std::vector<const Prompt*> asked;
    for (const std::size_t i : positions) asked.push_back(prompts[i]);
    auto samples = draw(drawn_by_policy ? policy : setting.reference, setting, asked, samples_each, round);
    guarded(setting.data, [&] { RLUF_ASSERT(samples.size() == positions.size()); });
    for (std::size_t j = 0; j < positions.size(); ++j) drawn[positions[j]] = std::move(samples[j]);
  }
  Rollout rollout{{0}, {}, {}, {}, {}};
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    for (Sample& sample : drawn[i]) {
      rollout.documents.push_back(join(prompts[i]->tokens, sample.tokens));
      rollout.responses.push_back({prompts[i], setting.decode(sample.tokens)});
      rollout.samples.push_back(std::move(sample));
    }
    rollout.first.push_back(rollout.samples.size());
  }
  return rollout;
}

}  // namespace rluf
