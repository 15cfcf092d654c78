#pragma once
/// Losses of reward models, summed over the examples of a micro-batch.
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace rluf {

/// How often each head sees each example of a micro-batch; not defined: one head that sees each once.
/// @shape [B, num_heads]
using HeadWeights = at::Tensor;

/// Each head learns from a resample of its own of the examples: Poisson(1) copies, a pure function of (seed, example,
/// head), the same in every epoch. @source Oza and Russell, "Online bagging and boosting", 2001; heads on one trunk:
/// Osband et al., "Deep exploration via bootstrapped DQN", 2016
double head_copies(std::uint64_t seed, std::int64_t example, std::int64_t head);

/// -[a y log p + (1 - y) log(1 - p)], p = sigmoid(raw), a = `positive_weight`; the mean over heads of what each sees.
/// @shape raw_scores [B, num_heads], labels [B] -> [] @source arXiv 2505.14946; weights of the two kinds of unpaired
/// labels as in KTO (Ethayarajh et al., 2024)
at::Tensor binary_cross_entropy_sum(const at::Tensor& raw_scores, const at::Tensor& labels,
                                    const HeadWeights& weights = {}, double positive_weight = 1);

/// -log sigmoid(chosen - rejected - margin) + centering (chosen + rejected)^2; the mean over heads of what each sees.
/// @shape chosen, rejected [B, num_heads], margins [B] -> []
/// @source Bradley-Terry as in arXiv 2409.20370 eq 2; margin: Llama 2; centering: arXiv 2312.09244
at::Tensor bradley_terry_sum(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margins,
                             double centering, const HeadWeights& weights = {});

/// Thresholds that rise whatever the offsets: the first is first + offset, each gap to the next is gap * exp(offset).
/// @shape start: rising [levels - 1], offsets [levels - 1] -> [levels - 1]
at::Tensor rising_thresholds(const at::Tensor& start, const at::Tensor& offsets);

/// -log P(level), P(above level k) = sigmoid(raw - thresholds[k]); with two levels binary cross-entropy.
/// @shape raw_scores [B], levels [B] int64 in 0 ... levels - 1, thresholds rising [levels - 1] -> []
/// @source proportional odds: McCullagh, "Regression models for ordinal data", 1980
at::Tensor cumulative_logit_sum(const at::Tensor& raw_scores, const at::Tensor& levels, const at::Tensor& thresholds);

/// (raw - target)^2. @shape raw_scores, targets [B] -> []
at::Tensor squared_error_sum(const at::Tensor& raw_scores, const at::Tensor& targets);

}  // namespace rluf
