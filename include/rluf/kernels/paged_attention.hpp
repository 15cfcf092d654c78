#pragma once
/// Attention of new tokens over a cache of keys and values that lies in blocks, on the host. A sequence is a table of
/// blocks; sequences that begin alike may name the same blocks.
#include <cstdint>
#include <memory>
#include <span>

namespace rluf {

constexpr std::int64_t kBlockTokens = 16;  ///< tokens of a block of the cache

struct CacheShape {
  std::int64_t num_heads, num_kv_heads, head_dim;
};

/// One layer's keys and values. In a block keys lie dimension by dimension and values token by token, each padded to
/// whole vectors, so that scores and sums run along the memory.
class PagedCache {
 public:
  PagedCache(const CacheShape& shape, std::int64_t num_blocks);
  const CacheShape& shape() const { return shape_; }
  std::int64_t value_stride() const { return value_stride_; }
  float* keys(std::int32_t block, std::int64_t kv_head);    ///< @shape [head_dim, kBlockTokens]
  float* values(std::int32_t block, std::int64_t kv_head);  ///< @shape [kBlockTokens, value_stride]
  void copy_block(std::int32_t from, std::int32_t to);

 private:
  CacheShape shape_;
  std::int64_t value_stride_, head_floats_;
  std::unique_ptr<float[]> data_;  ///< not filled: memory that no token uses is never touched
};

/// A new token: the blocks of its sequence (position / kBlockTokens + 1 of them at least), and where it stands there.
struct AttentionRow {
  const std::int32_t* blocks;
  std::int64_t position;
};

/// Rotates the new tokens' queries and keys (cos, sin: of their positions), puts keys and values into their blocks and
/// attends: out = softmax(q k^T / sqrt(head_dim)) v over the tokens of the sequence up to the new one, those of this
/// call included. A row's result depends on its sequence alone: not on the other rows, on how its tokens were divided
/// into calls, nor on the number of threads. Fastest where rows of a sequence, and sequences of shared blocks, stand
/// side by side. @shape qkv [R, (H + 2 G) K], cos, sin [R, K], out [R, H K]
void paged_attention(PagedCache& cache, std::span<const AttentionRow> rows, std::span<const float> cos,
                     std::span<const float> sin, std::span<const float> qkv, std::span<float> out);

}  // namespace rluf
