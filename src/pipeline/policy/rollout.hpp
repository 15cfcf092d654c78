#pragma once
/// The responses of a round: drawn, and compared with the reference.
#include <vector>

#include "rluf/pipeline/policy/policy_round.hpp"

namespace rluf {

/// All responses of a round, prompt by prompt.
struct Rollout {
  std::vector<std::size_t> first;  ///< of prompt i in the others: first[i] to first[i + 1]. @shape [num_prompts + 1]
  std::vector<Sample> samples;
  std::vector<Document> documents;
  std::vector<PromptedResponse> responses;
  std::vector<double> log_ratios;  ///< log pi_t - log pi_ref of the policy, which has drawn them or not. @unit nats
};

Document join(const TokenIds& prompt, const TokenIds& response);

/// Draws from the policy, or from the reference if the optimizer says so. Without log_ratios.
/// @shape num_samples [num_prompts] @collective
Rollout draw_rollout(const Llama& policy, const RoundSetting& setting, const std::vector<const Prompt*>& prompts,
                     const std::vector<std::int64_t>& num_samples, std::int64_t round);

/// @collective @throws Error(kBadData) for one that is not finite
void add_log_ratios(Rollout& rollout, const Llama& policy, const RoundSetting& setting);

}  // namespace rluf
