#pragma once
/// CRRAFT, the calibrated-regularised reward ranking finetuning of CGPO (arXiv 2409.20370, section 4.3), and with other
/// rules RAFT and best of N, as pure functions: no I/O, no MPI. All ranks call them with the same numbers and come to
/// the same choice.
/// Names: a = response, a_bar = baseline response, r = raw score, R_calib = calibrated reward, X+ = satisfies all
/// judges.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rluf {

/// R_calib = sigma(r(s, a) - r(s, a_bar)), the chance that a beats a_bar. @source CGPO eq 5
double calibrated_reward(double score, double baseline_score);

/// R = sum over objectives of weight * R_calib (RLUF: 0.7 helpfulness + 0.3 safety + w love). Terms of weight 0 are
/// left out, so an objective that does not count cannot change a bit. @shape both [num_objectives]
double combined_reward(std::span<const double> calibrated_rewards, std::span<const double> weights);

/// Weights divided by their sum. @throws Error(kBadInput) if the sum is not positive
std::vector<double> normalized_weights(std::span<const double> weights);

/// What the selection needs to know of one response.
struct CandidateFacts {
  bool satisfied = false;  ///< in X+
  double log_ratio = 0;    ///< log pi_t(a|s) - log pi_ref(a|s), pi_t being the policy that drew it. @unit nats
  double reward = 0;       ///< combined R_calib
};

enum class Weighting { kCalibrated, kOne };  ///< kOne: RAFT
enum class Divisor { kBatch, kKept };        ///< n of eq 18: prompts of the round, or those not skipped
enum class LengthNorm { kNone, kTokens };    ///< kTokens: log pi(a) is divided by the tokens of a

struct CrraftRules {
  double kl_max = 0;               ///< cap on the sequence log-ratio. @unit nats
  bool baseline_kl_check = false;  ///< the cap also holds for a_bar
  Weighting weighting = Weighting::kCalibrated;
  bool baseline_fallback = true;  ///< a_bar stands in where no candidate survives
};
/// RAFT and best of N: the best of those that satisfy all judges, with weight 1. Without judges that is argmax r.
/// @source CGPO eq 16
CrraftRules raft_rules();

enum class Source { kCandidate, kBaseline, kSkipped };

struct Choice {
  Source source = Source::kSkipped;
  std::int64_t candidate = -1;     ///< index of a* if source is kCandidate
  double weight = 0;               ///< R_calib in front of grad log pi
  std::int64_t num_satisfied = 0;  ///< size of X+
  std::int64_t num_survivors = 0;  ///< of those, within the KL cap
};

/// Steps 1 to 4 of CRRAFT for one prompt: filter by judges, filter by the KL cap, a* = argmax R over the survivors (a
/// tie goes to the lower index: total order (R, k)), else a_bar if it is allowed and satisfies all judges, else skip.
/// `baseline.reward` is the weight that a_bar gets: sigma(0) = 0.5 times the sum of the objectives' weights.
/// @source CGPO eq 17, and its text on prompts without a survivor
Choice choose_response(std::span<const CandidateFacts> candidates, const CandidateFacts& baseline,
                       const CrraftRules& rules);

/// n of eq 18. 0 if nothing is kept in kKept.
double step_divisor(std::span<const Choice> choices, Divisor divisor);

/// What the log-probability of a chosen response is multiplied with in the loss: -R, or -R / tokens.
double loss_coefficient(double weight, std::int64_t num_tokens, LengthNorm norm);

/// The loss whose descent is eq 18: -(1/n) sum_i R_i log pi(a*_i), from the chosen responses' log pi.
/// @shape log_probs, num_tokens [num_choices]; entries of skipped prompts are not read
double crraft_loss(std::span<const Choice> choices, std::span<const double> log_probs,
                   std::span<const std::int64_t> num_tokens, Divisor divisor, LengthNorm norm);

/// Prompts of a round: positions in 0..num_prompts-1, a pure function of (seed, round). An epoch visits
/// floor(num_prompts / prompts_per_round) full rounds, so no prompt stands twice in a round.
std::vector<std::int64_t> round_prompts(std::int64_t num_prompts, std::int64_t prompts_per_round, std::uint64_t seed,
                                        std::int64_t round);

}  // namespace rluf
