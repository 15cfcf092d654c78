#include "rluf/pipeline/policy/policy_optimizers.hpp"

#include <algorithm>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/policy/policy_gradients.hpp"
#include "rluf/pipeline/policy/preference_losses.hpp"

namespace rluf {
namespace {

/// One response a prompt: a candidate, a_bar, or none.
RoundTerms selected(const RoundFacts& facts, const PolicyOptions& options, const CrraftRules& rules) {
  std::vector<Choice> choices;
  RoundTerms result;
  for (std::size_t i = 0; i < facts.num_prompts(); ++i) {
    choices.push_back(choose_response(facts.of_prompt(i), facts.baselines[i], rules));
    const Choice& choice = choices.back();
    if (choice.source == Source::kSkipped) continue;
    result.terms.push_back({.prompt = static_cast<std::int64_t>(i),
                            .response = choice.source == Source::kCandidate ? choice.candidate : kBaselineResponse,
                            .weight = choice.weight});
  }
  result.divisor = step_divisor(choices, options.divisor());
  return result;
}

RoundTerms crraft(const RoundFacts& facts, const PolicyOptions& options) {
  return selected(facts, options, options.rules());
}

RoundTerms raft(const RoundFacts& facts, const PolicyOptions& options) {
  return selected(facts, options, raft_rules());
}

/// One pair a prompt, or none.
RoundTerms paired(const RoundFacts& facts, const PolicyOptions& options,
                  std::optional<PreferencePair> (*pair_of)(std::span<const CandidateFacts>)) {
  RoundTerms result;
  for (std::size_t i = 0; i < facts.num_prompts(); ++i)
    if (const auto pair = pair_of(facts.of_prompt(i)))
      result.terms.push_back(
          {.prompt = static_cast<std::int64_t>(i), .response = pair->chosen, .rejected = pair->rejected});
  const std::size_t n = options.divisor() == Divisor::kBatch ? facts.num_prompts() : result.terms.size();
  result.divisor = static_cast<double>(n);
  return result;
}

RoundTerms codpo(const RoundFacts& facts, const PolicyOptions& options) { return paired(facts, options, codpo_pair); }

RoundTerms online_dpo(const RoundFacts& facts, const PolicyOptions& options) {
  return paired(facts, options, best_and_worst);
}

/// Every candidate with its advantage. Those with none are left out unless they count otherwise.
RoundTerms weighted(const RoundFacts& facts, const std::vector<double>& advantages, bool keep_zeros) {
  RoundTerms result;
  for (std::size_t j = 0; j < advantages.size(); ++j)
    if (keep_zeros || advantages[j] != 0)
      result.terms.push_back({.prompt = static_cast<std::int64_t>(j / facts.num_samples),
                              .response = static_cast<std::int64_t>(j % facts.num_samples),
                              .weight = advantages[j]});
  result.divisor = static_cast<double>(advantages.size());
  return result;
}

RoundTerms crpg(const RoundFacts& facts, const PolicyOptions& options) {
  return weighted(facts, crpg_advantages(facts.candidates, options.kl_max), false);
}

/// Advantages within each prompt, of R_cr - kl_penalty log_ratio.
std::vector<double> within_prompts(const RoundFacts& facts, double kl_penalty,
                                   std::vector<double> (*advantages_of)(std::span<const double>)) {
  std::vector<double> result;
  for (std::size_t i = 0; i < facts.num_prompts(); ++i) {
    std::vector<double> rewards;
    for (const CandidateFacts& candidate : facts.of_prompt(i))
      rewards.push_back(constrained_reward(candidate) - kl_penalty * candidate.log_ratio);
    const auto advantages = advantages_of(rewards);
    result.insert(result.end(), advantages.begin(), advantages.end());
  }
  return result;
}

RoundTerms rloo(const RoundFacts& facts, const PolicyOptions& options) {
  return weighted(facts, within_prompts(facts, options.kl_penalty, rloo_advantages), false);
}

RoundTerms grpo(const RoundFacts& facts, const PolicyOptions& options) {
  return weighted(facts, within_prompts(facts, 0.0, grpo_advantages), options.kl_penalty > 0);
}

}  // namespace

const std::vector<PolicyOptimizer>& policy_optimizers() {
  static const std::vector<PolicyOptimizer> all = {
      {.name = "crraft", .form = LossForm::kLogProb, .choose = crraft, .uses_kl_cap = true},
      {.name = "raft", .form = LossForm::kLogProb, .choose = raft},
      {.name = "crpg", .form = LossForm::kLogProb, .choose = crpg, .uses_kl_cap = true, .trains_all_samples = true},
      {.name = "codpo", .form = LossForm::kPair, .choose = codpo},
      {.name = "best_of_n", .form = LossForm::kLogProb, .choose = raft, .draws_from_reference = true},
      {.name = "online_dpo", .form = LossForm::kPair, .choose = online_dpo},
      {.name = "rloo", .form = LossForm::kClippedResponses, .choose = rloo, .trains_all_samples = true},
      {.name = "grpo", .form = LossForm::kClippedTokens, .choose = grpo, .trains_all_samples = true}};
  return all;
}

const PolicyOptimizer& policy_optimizer(const std::string& name) {
  const auto& all = policy_optimizers();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == name; });
  if (found == all.end())
    fail_input(concat("policy.optimizer = ", name, " is unknown"), "no policy could be trained",
               "take one of those that `rluf options` names");
  return *found;
}

RoundTerms round_terms(const RoundFacts& facts, const PolicyOptions& options, std::span<const double> weights) {
  const PolicyOptimizer& optimizer = policy_optimizer(options.optimizer);
  if (options.weights_apply_to == "reward") return optimizer.choose(facts, options);
  RoundTerms result{{}, 1.0};
  for (std::size_t o = 0; o < weights.size(); ++o) {
    if (weights[o] == 0) continue;
    RoundFacts alone = facts;
    for (std::size_t j = 0; j < alone.candidates.size(); ++j)
      alone.candidates[j].reward = facts.objective_rewards[j][o];
    for (CandidateFacts& baseline : alone.baselines) baseline.reward = options.baseline_weight;
    RoundTerms terms = optimizer.choose(alone, options);
    for (Term& term : terms.terms) {
      term.scale = weights[o] / terms.divisor;
      result.terms.push_back(term);
    }
  }
  return result;
}

std::int64_t num_survivors(std::span<const CandidateFacts> candidates, const PolicyOptions& options) {
  const bool capped = policy_optimizer(options.optimizer).uses_kl_cap;
  return std::count_if(candidates.begin(), candidates.end(), [&](const CandidateFacts& candidate) {
    return candidate.satisfied && (!capped || candidate.log_ratio <= options.kl_max);
  });
}

WorkPerPrompt work_per_prompt(const PolicyOptions& options) {
  const PolicyOptimizer& optimizer = policy_optimizer(options.optimizer);
  const bool pairs = optimizer.form == LossForm::kPair;
  WorkPerPrompt work{
      .terms = optimizer.trains_all_samples ? static_cast<double>(options.num_samples) : 1.0,
      .responses_each = pairs ? 2.0 : 1.0,
      .reference_in_loss = pairs || (optimizer.form == LossForm::kClippedTokens && options.kl_penalty > 0),
      .policy_scores = optimizer.draws_from_reference};
  if (options.weights_apply_to == "gradients") {
    const double most_love = *std::max_element(options.love_weights.begin(), options.love_weights.end());
    work.terms *= (options.helpfulness_weight > 0) + (options.safety_weight > 0) + (most_love > 0);
  }
  return work;
}

}  // namespace rluf
