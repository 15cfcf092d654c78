#include "rluf/pipeline/policy/crraft.hpp"

#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {

double calibrated_reward(double score, double baseline_score) {
  const double difference = score - baseline_score;
  // The form whose exponential cannot overflow.
  if (difference >= 0) return 1.0 / (1.0 + std::exp(-difference));
  const double small = std::exp(difference);
  return small / (1.0 + small);
}

double combined_reward(std::span<const double> calibrated_rewards, std::span<const double> weights) {
  RLUF_ASSERT(calibrated_rewards.size() == weights.size());
  double reward = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (weights[i] != 0) reward += weights[i] * calibrated_rewards[i];
  return reward;
}

std::vector<double> normalized_weights(std::span<const double> weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  if (!(sum > 0))
    fail_input(concat("the objectives' weights add up to ", sum), "they cannot be normalised",
               "give at least one objective a positive weight");
  std::vector<double> result;
  for (const double weight : weights) result.push_back(weight / sum);
  return result;
}

CrraftRules raft_rules() {
  return {.kl_max = std::numeric_limits<double>::infinity(), .weighting = Weighting::kOne, .baseline_fallback = false};
}

Choice choose_response(std::span<const CandidateFacts> candidates, const CandidateFacts& baseline,
                       const CrraftRules& rules) {
  Choice choice;
  const auto weight_of = [&](double reward) { return rules.weighting == Weighting::kOne ? 1.0 : reward; };
  for (std::size_t k = 0; k < candidates.size(); ++k) {
    const CandidateFacts& candidate = candidates[k];
    if (!candidate.satisfied) continue;
    ++choice.num_satisfied;
    if (!(candidate.log_ratio <= rules.kl_max)) continue;  // drops NaN too
    ++choice.num_survivors;
    if (choice.source == Source::kCandidate &&
        !(candidate.reward > candidates[static_cast<std::size_t>(choice.candidate)].reward))
      continue;
    choice.source = Source::kCandidate;
    choice.candidate = static_cast<std::int64_t>(k);
    choice.weight = weight_of(candidate.reward);
  }
  if (choice.source == Source::kCandidate || !rules.baseline_fallback) return choice;
  const bool near = !rules.baseline_kl_check || baseline.log_ratio <= rules.kl_max;
  if (baseline.satisfied && near) {
    choice.source = Source::kBaseline;
    choice.weight = weight_of(baseline.reward);
  }
  return choice;
}

double step_divisor(std::span<const Choice> choices, Divisor divisor) {
  if (divisor == Divisor::kBatch) return static_cast<double>(choices.size());
  double kept = 0;
  for (const Choice& choice : choices)
    if (choice.source != Source::kSkipped) kept += 1;
  return kept;
}

double loss_coefficient(double weight, std::int64_t num_tokens, LengthNorm norm) {
  if (norm == LengthNorm::kNone) return -weight;
  RLUF_ASSERT(num_tokens > 0);
  return -weight / static_cast<double>(num_tokens);
}

double crraft_loss(std::span<const Choice> choices, std::span<const double> log_probs,
                   std::span<const std::int64_t> num_tokens, Divisor divisor, LengthNorm norm) {
  RLUF_ASSERT(choices.size() == log_probs.size() && choices.size() == num_tokens.size());
  double sum = 0;
  for (std::size_t i = 0; i < choices.size(); ++i)
    if (choices[i].source != Source::kSkipped)
      sum += loss_coefficient(choices[i].weight, num_tokens[i], norm) * log_probs[i];
  const double n = step_divisor(choices, divisor);
  return n > 0 ? sum / n : 0.0;
}

std::vector<std::int64_t> round_prompts(std::int64_t num_prompts, std::int64_t prompts_per_round, std::uint64_t seed,
                                        std::int64_t round) {
  RLUF_ASSERT(prompts_per_round > 0 && num_prompts >= prompts_per_round && round >= 0);
  const std::int64_t rounds_per_epoch = num_prompts / prompts_per_round;
  const auto order = shuffled_order(num_prompts, seed, static_cast<std::uint64_t>(round / rounds_per_epoch));
  const std::int64_t first = (round % rounds_per_epoch) * prompts_per_round;
  return {order.begin() + first, order.begin() + first + prompts_per_round};
}

}  // namespace rluf
