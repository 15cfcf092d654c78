#pragma once
/// The methods of policy training on one interface: from the facts of a round to the terms of its loss. Pure functions:
/// all ranks call them with the same numbers and come to the same terms.
///
/// To add one: its mathematics beside the others' (crraft.hpp, policy_gradients.hpp, preference_losses.hpp), its line
/// in `policy_optimizers()` of policy_optimizers.cpp, cases in tests/policy/policy_optimizers_test.cpp. A new form of
/// loss is a case in term_loss.cpp.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rluf/pipeline/policy/crraft.hpp"
#include "rluf/pipeline/policy/policy.hpp"

namespace rluf {

/// What is known of a round's responses before anything is trained.
struct RoundFacts {
  std::size_t num_samples = 0;                         ///< candidates of a prompt
  std::vector<CandidateFacts> candidates;              ///< k of prompt i at i * num_samples + k
  std::vector<CandidateFacts> baselines;               ///< [num_prompts]
  std::vector<std::vector<double>> objective_rewards;  ///< R_calib [candidate][objective]

  std::size_t num_prompts() const { return baselines.size(); }
  std::span<const CandidateFacts> of_prompt(std::size_t prompt) const {
    return std::span(candidates).subspan(prompt * num_samples, num_samples);
  }
};

inline constexpr std::int64_t kBaselineResponse = -1, kNoResponse = -2;

/// A summand of a round's loss, before its division.
struct Term {
  std::int64_t prompt = 0;    ///< position in the round
  std::int64_t response = 0;  ///< candidate, or kBaselineResponse; of a pair the chosen one
  std::int64_t rejected = kNoResponse;
  double weight = 1;  ///< R or an advantage; a pair has none
  double scale = 1;   ///< of the whole term: what an objective of its own counts
  friend bool operator==(const Term&, const Term&) = default;
};

struct RoundTerms {
  std::vector<Term> terms;
  double divisor = 0;  ///< what their sum is divided by; 0 if there is none
};

/// How a term enters the loss.
enum class LossForm {
  kLogProb,           ///< -weight log pi(a)
  kPair,              ///< -log sigma(beta margin) - lambda / |a+| log pi(a+)
  kClippedResponses,  ///< -clipped surrogate of the whole response
  kClippedTokens,     ///< mean over the tokens of -clipped surrogate + kl_penalty KL
};

struct PolicyOptimizer {
  std::string name;
  LossForm form;
  RoundTerms (*choose)(const RoundFacts& facts, const PolicyOptions& options);
  bool draws_from_reference = false;  ///< otherwise from the policy in training
  bool uses_kl_cap = false;           ///< a response beyond policy.kl_max cannot be reinforced
  bool trains_all_samples = false;    ///< of a prompt; otherwise one response, or one pair
};

/// In the order of their names in the option's text.
const std::vector<PolicyOptimizer>& policy_optimizers();
/// @throws Error(kBadInput) for an unknown name
const PolicyOptimizer& policy_optimizer(const std::string& name);

/// The terms of the round. weights_apply_to = reward: those of the optimizer for R, the weighted sum of the objectives.
/// gradients: those that it has for each objective with a weight alone, scaled by the weight. @source CGPO Algorithm 2
/// @shape weights [num_objectives]
RoundTerms round_terms(const RoundFacts& facts, const PolicyOptions& options, std::span<const double> weights);

/// Candidates that the optimizer could reinforce: all judges satisfied, and within its KL cap if it has one.
std::int64_t num_survivors(std::span<const CandidateFacts> candidates, const PolicyOptions& options);

/// What a round does with a prompt if it skips none, for plans. @unit of one prompt
struct WorkPerPrompt {
  double terms = 1;                ///< of a step
  double responses_each = 1;       ///< of a term
  bool reference_in_loss = false;  ///< every step passes its responses through the reference too
  bool policy_scores = false;  ///< the policy did not draw the responses, so their probabilities are yet to be found
};
WorkPerPrompt work_per_prompt(const PolicyOptions& options);

}  // namespace rluf
