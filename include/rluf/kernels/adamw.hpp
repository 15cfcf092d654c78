#pragma once
#include <cstdint>
#include <span>

namespace rluf {

struct AdamWRates {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  std::int64_t step;            ///< counts from 1
  double gradient_scale = 1.0;  ///< gradients are multiplied with it first (clipping)
};

/// One AdamW step on the host. Every element gets the same bits wherever it stands in the span, so that a tensor may be
/// cut into any shards; LibTorch's fused kernel rounds the last elements of a span otherwise than the others.
/// @shape all [n] @source Loshchilov and Hutter, arXiv 1711.05101, algorithm 2
void adamw_update(std::span<float> weights, std::span<const float> gradients, std::span<float> first,
                  std::span<float> second, const AdamWRates& rates);

}  // namespace rluf
