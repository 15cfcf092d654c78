#pragma once
/// Differentiable operations on packed documents, the parts of the transformer that LibTorch has not as one call.
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Rotary embedding in the half-split form of Hugging Face's Llama.
/// @shape x [T, heads, head_dim]; cos, sin [T, 1, head_dim]
at::Tensor apply_rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// Causal attention inside each document; no document sees another, nothing is padded.
/// @shape q [T, H, K]; k, v [T, G, K] with H a multiple of G; offsets as in PackedBatch -> [T, H, K]
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<std::int64_t>& offsets);

/// The part of the vocabulary whose logits this rank computes; the axis's ranks have the same rows.
struct VocabularyPart {
  Communicator axis;
  std::int64_t first_token = 0;
};

/// log softmax(hidden weight^T)[target] in float32, computed in slices of rows, forward and backward, so that the full
/// logits never stand in memory. @shape hidden [R, D], weight [V, D] or this
/// rank's rows of it, targets [R] int64 -> [R] float32. @collective over part->axis, backward too
at::Tensor chosen_token_log_probs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                                  const std::optional<VocabularyPart>& part = {});

}  // namespace rluf
