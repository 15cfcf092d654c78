#pragma once
/// Attention of one new token a sequence over that sequence's cache, on the host.
#include <cstdint>
#include <span>

namespace rluf {

struct DecodeShape {
  std::int64_t num_sequences, num_heads, num_kv_heads, head_dim, capacity;
};

/// out = softmax(q k^T / sqrt(head_dim)) v over the first lengths[s] entries of each sequence's cache.
/// @shape q, out [S, H, K]; keys, values [S, G, capacity, K]; lengths [S], each from 1 to capacity
/// A sequence's result does not depend on the others.
void decode_attention(const DecodeShape& shape, std::span<const float> q, std::span<const float> keys,
                      std::span<const float> values, std::span<const std::int64_t> lengths, std::span<float> out);

}  // namespace rluf
