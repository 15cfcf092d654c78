#include "rluf/pipeline/policy/policy_gradients.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

/// Values minus their mean. Summed as differences to the first value, so that equal values give exactly 0.
std::vector<double> centred(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value - values.front();
  const double mean_above_first = values.empty() ? 0.0 : sum / static_cast<double>(values.size());
  std::vector<double> result;
  for (const double value : values) result.push_back(value - values.front() - mean_above_first);
  return result;
}

}  // namespace

double constrained_reward(const CandidateFacts& candidate) { return candidate.satisfied ? candidate.reward : 0.0; }

double crpg_reward(const CandidateFacts& candidate, double kl_max) {
  return std::max(1.0 - candidate.log_ratio / kl_max, 0.0) * constrained_reward(candidate);
}

std::vector<double> crpg_advantages(std::span<const CandidateFacts> candidates, double kl_max) {
  std::vector<double> rewards;
  for (const CandidateFacts& candidate : candidates) rewards.push_back(crpg_reward(candidate, kl_max));
  return centred(rewards);
}

std::vector<double> rloo_advantages(std::span<const double> rewards) {
  RLUF_ASSERT(rewards.size() >= 2);
  std::vector<double> advantages = centred(rewards);
  const auto n = static_cast<double>(rewards.size());
  for (double& advantage : advantages) advantage *= n / (n - 1);
  return advantages;
}

std::vector<double> grpo_advantages(std::span<const double> rewards) {
  RLUF_ASSERT(rewards.size() >= 2);
  constexpr double kGuard = 1e-4;
  std::vector<double> advantages = centred(rewards);
  double squares = 0;
  for (const double advantage : advantages) squares += advantage * advantage;
  const double deviation = std::sqrt(squares / static_cast<double>(rewards.size() - 1));
  for (double& advantage : advantages) advantage /= deviation + kGuard;
  return advantages;
}

at::Tensor clipped_surrogate(const at::Tensor& log_probs, const at::Tensor& drawn_log_probs,
                             const at::Tensor& advantages, double clip_range) {
  const at::Tensor ratios = torch::exp(log_probs - drawn_log_probs);
  const at::Tensor whole = ratios * advantages,
                   clipped = (ratios.clamp(1 - clip_range, 1 + clip_range) * advantages).detach();
  // The minimum; that of LibTorch has no gradient on the meta device of a dry run.
  const at::Tensor counts = whole.detach().le(clipped).to(whole.scalar_type());
  return counts * whole + (1 - counts) * clipped;
}

at::Tensor kl_estimate(const at::Tensor& log_probs, const at::Tensor& reference_log_probs) {
  const at::Tensor difference = reference_log_probs - log_probs;
  return torch::exp(difference) - difference - 1;
}

}  // namespace rluf
