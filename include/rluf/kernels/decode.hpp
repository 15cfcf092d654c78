#pragma once
/// Attention of one new token a sequence over what came before it, on the host. Sequences that continue the same prompt
/// share its keys and values.
#include <cstdint>
#include <span>
#include <vector>

namespace rluf {

/// Sizes of a cache. Keys lie dimension by dimension and values token by token, each padded to whole vectors: scores
/// and sums then run along the memory.
struct DecodeShape {
  std::int64_t num_heads, num_kv_heads, head_dim;
  std::int64_t prompt_capacity, own_capacity;  ///< tokens of a prompt, and tokens a sequence adds
};

/// One layer's keys and values. The prompts' part is written by set_prompt, the sequences' own part by
/// decode_attention.
class DecodeCache {
 public:
  DecodeCache(const DecodeShape& shape, std::int64_t num_prompts, std::int64_t num_slots);
  /// @shape keys, values [num_tokens, num_kv_heads, head_dim], keys rotated already
  void set_prompt(std::int64_t prompt, std::span<const float> keys, std::span<const float> values);

  const DecodeShape& shape() const { return shape_; }
  /// Tokens between two dimensions of the keys, and floats between two values.
  std::int64_t prompt_stride() const { return prompt_stride_; }
  std::int64_t own_stride() const { return own_stride_; }
  std::int64_t value_stride() const { return value_stride_; }
  float* prompt_keys(std::int64_t prompt, std::int64_t kv_head);
  float* prompt_values(std::int64_t prompt, std::int64_t kv_head);
  float* own_keys(std::int64_t slot, std::int64_t kv_head);
  float* own_values(std::int64_t slot, std::int64_t kv_head);

 private:
  DecodeShape shape_;
  std::int64_t prompt_stride_, own_stride_, value_stride_;
  std::vector<float> prompt_keys_, prompt_values_, own_keys_, own_values_;
};

struct DecodeSequence {
  std::int64_t prompt, prompt_length;
  std::int64_t slot, own_length;  ///< its part of the cache, and how many tokens stand there before the new one
};

/// Rotates the new token's query and key (cos, sin: of its position), appends key and value to the sequence's part of
/// the cache and attends: out = softmax(q k^T / sqrt(head_dim)) v over prompt, own tokens and the new one.
/// @shape qkv [S, (H + 2 G) K], cos, sin [S, K], out [S, H K]; sequences of the same prompt stand side by side
/// A sequence's result does not depend on the others, nor on the number of threads.
void decode_attention(DecodeCache& cache, std::span<const DecodeSequence> sequences, std::span<const float> cos,
                      std::span<const float> sin, std::span<const float> qkv, std::span<float> out);

}  // namespace rluf
