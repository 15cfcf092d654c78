#pragma once
/// Advantages and surrogates of CRPG, RLOO and GRPO: no I/O, no MPI.
#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "rluf/pipeline/policy/crraft.hpp"

namespace rluf {

/// R_cr = R where all judges are satisfied, else 0. @source CGPO (arXiv 2409.20370) eq 8
double constrained_reward(const CandidateFacts& candidate);

/// R~ = max(1 - log_ratio / kl_max, 0) R_cr: fades to 0 at the cap and is not cut above. `kl_max` > 0. @source CGPO eq
/// 11
double crpg_reward(const CandidateFacts& candidate, double kl_max);

/// R~ minus its mean over all candidates of the round, violators with their 0 included. Exactly 0 where all are equal.
/// @shape in and out [num_candidates] @source CGPO eq 12
std::vector<double> crpg_advantages(std::span<const CandidateFacts> candidates, double kl_max);

/// r_k minus the mean of the others of its prompt. @shape in and out [num_samples], at least 2
/// @source Kool et al. 2019; Ahmadian et al., arXiv 2402.14740
std::vector<double> rloo_advantages(std::span<const double> rewards);

/// (r_k - mean) / (standard deviation + 1e-4), of one prompt; the deviation is that of a sample (n - 1), and the guard
/// that of TRL. @shape in and out [num_samples], at least 2 @source Shao et al., arXiv 2402.03300
std::vector<double> grpo_advantages(std::span<const double> rewards);

/// min(q A, clip(q, 1 - clip_range, 1 + clip_range) A) with q = pi / pi_drawn, which is to be maximised.
/// @shape all [n], whole responses or single tokens @source Schulman et al., arXiv 1707.06347 eq 7
at::Tensor clipped_surrogate(const at::Tensor& log_probs, const at::Tensor& drawn_log_probs,
                             const at::Tensor& advantages, double clip_range);

/// exp(d) - d - 1 with d = log pi_ref - log pi: not negative, and its mean over draws of pi is KL(pi || pi_ref).
/// @shape all [n] @unit nats @source the estimator k3 of Schulman; arXiv 2402.03300 eq 4
at::Tensor kl_estimate(const at::Tensor& log_probs, const at::Tensor& reference_log_probs);

}  // namespace rluf
