#pragma once
/// What a policy would be worth, from a log in which others served: off-policy estimators with intervals clustered by
/// user. An action is an arm (which model served). Pure functions.
#include <cstdint>
#include <span>
#include <vector>

#include "rluf/statistics/interval.hpp"

namespace rluf {

/// A response of the log as the policy to be valued sees it. Whoever has no direct model leaves the predictions out;
/// one whose predictions do not come from the scores of the same log gives `predicted` as `score`.
struct LoggedResponse {
  std::int64_t user = 0;        ///< number from 0; responses of one user may depend on each other in any way
  double weight = 0;            ///< chance of the arm that served under the policy / under the log
  bool observed = true;         ///< whether `reward` is known
  double reward = 0;            ///< what the user did
  double score = 0;             ///< what the direct model says of this response
  double predicted = 0;         ///< what it says of the arm that served, for any response of it here
  double policy_predicted = 0;  ///< the same of the policy's arms, in its shares
  double rare_predicted = 0;    ///< the part of it that is of arms whose weight is above SWITCH's
};

/// A value and, for its variance and that of differences, what each user adds to its error.
struct PolicyEstimate {
  double value = 0;               ///< NaN where undefined
  std::vector<double> influence;  ///< sums to 0; 0 for users without a response @shape [num_users]
  std::int64_t num_users = 0;     ///< who add something
  /// G / (G - 1) * sum of squared influences over G users; NaN below two. @source Liang and Zeger 1986
  double variance() const;
  Interval interval(double confidence = 0.95) const;
};
/// a - b of two policies on the same log: what users have in common cancels. @shape of the same users
PolicyEstimate difference_of(const PolicyEstimate& a, const PolicyEstimate& b);

/// mean of q(x, policy). Right where the direct model is; its own error is not in the interval.
PolicyEstimate direct_method(std::span<const LoggedResponse> responses, std::int64_t num_users);
/// mean of w r. @source Horvitz and Thompson 1952; policies: Dudik, Langford and Li, ICML 2011 (arXiv 1103.4601)
PolicyEstimate importance_sampling(std::span<const LoggedResponse> responses, std::int64_t num_users);
/// sum of w r / sum of w. @source Swaminathan and Joachims, "The self-normalized estimator for counterfactual
/// learning", NIPS 2015
PolicyEstimate self_normalized(std::span<const LoggedResponse> responses, std::int64_t num_users);
/// mean of q(x, policy) + w (r - q(x, a)): right if the weights or the direct model are. @source Dudik, Erhan, Langford
/// and Li, "Doubly robust policy evaluation and optimization", Statistical Science 2014 (arXiv 1503.02834)
PolicyEstimate doubly_robust(std::span<const LoggedResponse> responses, std::int64_t num_users);
/// mean of w r where w <= largest_weight, and of q(x, a) for the policy's other arms (`rare_predicted`, for the same
/// largest_weight), whichever arm served. @source SWITCH: Wang, Agarwal and Dudik, ICML 2017 (arXiv 1612.01205)
PolicyEstimate switch_estimator(std::span<const LoggedResponse> responses, std::int64_t num_users,
                                double largest_weight);
/// Doubly robust where w <= largest_weight, the direct method elsewhere. @source SWITCH-DR, in the same paper
PolicyEstimate switch_doubly_robust(std::span<const LoggedResponse> responses, std::int64_t num_users,
                                    double largest_weight);

/// lambda * mean of f (not observed) + mean of (r - lambda f) (observed), means weighted by w / sum of w. What is not
/// observed must be missing by chance. `lambda` NaN: the one of the smallest clustered variance, within 0..1; for equal
/// weights and users of one response it is cov(r, f) / (var f + n / N var f').
/// @source Angelopoulos et al., "Prediction-powered inference", Science 2023 (arXiv 2301.09633); lambda: Angelopoulos,
/// Duchi and Zrnic, "PPI++", 2023 (arXiv 2311.01453)
struct PredictionPowered {
  PolicyEstimate estimate;
  double lambda = 0;
};
PredictionPowered prediction_powered(std::span<const LoggedResponse> responses, std::int64_t num_users, double lambda);

/// How far the weights of the observed responses can be trusted.
struct WeightFacts {
  double effective = 0;                            ///< (sum w)^2 / sum w^2 @unit responses @source Kish 1965
  double largest = 0;                              ///< w
  double largest_share = 0;                        ///< of the sum
  std::int64_t num_responses = 0, num_events = 0;  ///< with w > 0, and of these with a reward
};
WeightFacts weight_facts(std::span<const LoggedResponse> responses);

}  // namespace rluf
