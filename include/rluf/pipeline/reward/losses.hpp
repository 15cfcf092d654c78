#pragma once
/// Losses of reward models, summed over the examples of a micro-batch.
#include <ATen/core/Tensor.h>

namespace rluf {

/// -[y log p + (1 - y) log(1 - p)], p = sigmoid(raw). @shape raw_scores, labels [B] -> [] @source arXiv 2505.14946
at::Tensor binary_cross_entropy_sum(const at::Tensor& raw_scores, const at::Tensor& labels);

/// -log sigmoid(chosen - rejected - margin) + centering (chosen + rejected)^2. @shape all [B] -> []
/// @source Bradley-Terry as in arXiv 2409.20370 eq 2; margin: Llama 2; centering: arXiv 2312.09244
at::Tensor bradley_terry_sum(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margins,
                             double centering);

}  // namespace rluf
