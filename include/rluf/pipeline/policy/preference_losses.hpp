#pragma once
/// Pairs of a prompt's candidates, and the losses of DPO and CODPO on pairs: no I/O, no MPI.
#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "rluf/pipeline/policy/crraft.hpp"

namespace rluf {

/// Indices of a prompt's candidates.
struct PreferencePair {
  std::int64_t chosen = 0, rejected = 0;
  friend bool operator==(const PreferencePair&, const PreferencePair&) = default;
};

/// chosen = argmax R over X+; rejected = argmin R over X-, over X+ if X- is empty. None if X+ is empty or both are the
/// same candidate; a tie goes to the lower index. @source CGPO (arXiv 2409.20370) section 4.2
std::optional<PreferencePair> codpo_pair(std::span<const CandidateFacts> candidates);

/// The candidates with the largest and the smallest R_cr; none if all have the same. @source Guo et al., arXiv
/// 2402.04792; as max_min of iterative DPO
std::optional<PreferencePair> best_and_worst(std::span<const CandidateFacts> candidates);

/// Of whole responses: sums over their tokens. @shape all [num_pairs]
struct PairLogProbs {
  at::Tensor chosen, rejected;                      ///< under the policy, differentiable
  at::Tensor reference_chosen, reference_rejected;  ///< under the reference
  /// log pi/pi_ref of the chosen minus that of the rejected one
  at::Tensor margins() const;
};

/// -log sigma(beta margin). @shape out [num_pairs] @source Rafailov et al., arXiv 2305.18290 eq 7
at::Tensor dpo_loss(const PairLogProbs& pairs, double beta);

/// -log sigma(beta margin) - lambda / |chosen| log pi(chosen), the sign that its eq 13 gives (its eq 15 has the other
/// one). @shape chosen_tokens, out [num_pairs] @source CGPO eq 14
at::Tensor codpo_loss(const PairLogProbs& pairs, const at::Tensor& chosen_tokens, double beta, double lambda);

}  // namespace rluf
