#include "rluf/pipeline/policy/preference_losses.hpp"

#include <torch/torch.h>

#include "rluf/pipeline/policy/policy_gradients.hpp"

namespace rluf {
namespace {

/// Of those with `satisfied`: the position of the largest R, or of the smallest; -1 if there is none.
std::int64_t extreme(std::span<const CandidateFacts> candidates, bool satisfied, bool largest) {
  std::int64_t best = -1;
  for (std::size_t k = 0; k < candidates.size(); ++k) {
    if (candidates[k].satisfied != satisfied) continue;
    const double reward = candidates[k].reward;
    const double so_far = best < 0 ? 0.0 : candidates[static_cast<std::size_t>(best)].reward;
    if (best < 0 || (largest ? reward > so_far : reward < so_far)) best = static_cast<std::int64_t>(k);
  }
  return best;
}

}  // namespace

std::optional<PreferencePair> codpo_pair(std::span<const CandidateFacts> candidates) {
  const std::int64_t chosen = extreme(candidates, true, true);
  std::int64_t rejected = extreme(candidates, false, false);
  if (rejected < 0) rejected = extreme(candidates, true, false);
  if (chosen < 0 || chosen == rejected) return std::nullopt;
  return PreferencePair{chosen, rejected};
}

std::optional<PreferencePair> best_and_worst(std::span<const CandidateFacts> candidates) {
  PreferencePair pair;
  for (std::size_t k = 0; k < candidates.size(); ++k) {
    const auto reward_of = [&](std::int64_t i) { return constrained_reward(candidates[static_cast<std::size_t>(i)]); };
    const double reward = constrained_reward(candidates[k]);
    if (reward > reward_of(pair.chosen)) pair.chosen = static_cast<std::int64_t>(k);
    if (reward < reward_of(pair.rejected)) pair.rejected = static_cast<std::int64_t>(k);
  }
  if (pair.chosen == pair.rejected) return std::nullopt;
  return pair;
}

at::Tensor PairLogProbs::margins() const { return (chosen - reference_chosen) - (rejected - reference_rejected); }

at::Tensor dpo_loss(const PairLogProbs& pairs, double beta) { return -torch::log_sigmoid(beta * pairs.margins()); }

at::Tensor codpo_loss(const PairLogProbs& pairs, const at::Tensor& chosen_tokens, double beta, double lambda) {
  return dpo_loss(pairs, beta) - lambda * pairs.chosen / chosen_tokens;
}

}  // namespace rluf
