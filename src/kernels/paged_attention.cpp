// Letters as in the header; Q queries that read the same keys, B tokens of a block. Padding of values may hold
// anything: it reaches padding only. Scores of tokens after the query's are cut to a weight of zero, so theirs may too.
#include "rluf/kernels/paged_attention.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <vector>

#include "rluf/core/error.hpp"
#include "rows.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

using simd::kLanes;
using simd::Lanes;

static_assert(kBlockTokens == kLanes, "a dimension of a block's keys is one vector");
constexpr std::int64_t kMostRows = 8;  ///< rows that one thread takes at a time
constexpr std::int64_t kFew = 4;       ///< rows whose keys one thread stores

std::int64_t whole_vectors(std::int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }
std::int64_t blocks_of(const AttentionRow& row) { return row.position / kBlockTokens + 1; }

/// scores[q][t] = query q times key t of a block. @shape queries [kQueries, K]; scores [kQueries, stride]
template <std::int64_t kQueries>
[[gnu::always_inline]] inline void score_block(const float* keys, const float* queries, std::int64_t head_dim,
                                               float* scores, std::int64_t stride) {
  Lanes sums[kQueries] = {}, key;
  for (std::int64_t d = 0; d < head_dim; ++d) {
    simd::load(key, keys + d * kLanes);
    for (std::int64_t q = 0; q < kQueries; ++q) sums[q] += key * queries[q * head_dim + d];
  }
  for (std::int64_t q = 0; q < kQueries; ++q) simd::store(sums[q], scores + q * stride);
}

/// sums[q] += the first num_tokens values of a block weighted by weights[q], for kVectors vectors of dimensions.
template <std::int64_t kQueries, std::int64_t kVectors>
[[gnu::always_inline]] inline void value_block(const float* values, std::int64_t value_stride, std::int64_t num_tokens,
                                               const float* weights, std::int64_t stride, float* sums) {
  Lanes totals[kQueries][kVectors], value[kVectors];
  for (std::int64_t q = 0; q < kQueries; ++q)
    for (std::int64_t v = 0; v < kVectors; ++v) simd::load(totals[q][v], sums + q * value_stride + v * kLanes);
  for (std::int64_t t = 0; t < num_tokens; ++t) {
    for (std::int64_t v = 0; v < kVectors; ++v) simd::load(value[v], values + t * value_stride + v * kLanes);
    for (std::int64_t q = 0; q < kQueries; ++q)
      for (std::int64_t v = 0; v < kVectors; ++v) totals[q][v] += value[v] * weights[q * stride + t];
  }
  for (std::int64_t q = 0; q < kQueries; ++q)
    for (std::int64_t v = 0; v < kVectors; ++v) simd::store(totals[q][v], sums + q * value_stride + v * kLanes);
}

template <std::int64_t kQueries>
[[gnu::always_inline]] inline void value_block(const float* values, std::int64_t value_stride, std::int64_t num_tokens,
                                               const float* weights, std::int64_t stride, float* sums) {
  std::int64_t d = 0;
  for (; d + 4 * kLanes <= value_stride; d += 4 * kLanes)
    value_block<kQueries, 4>(values + d, value_stride, num_tokens, weights, stride, sums + d);
  for (; d < value_stride; d += kLanes)
    value_block<kQueries, 1>(values + d, value_stride, num_tokens, weights, stride, sums + d);
}

RLUF_SIMD void score(const float* keys, const float* queries, std::int64_t num_queries, std::int64_t head_dim,
                     float* scores, std::int64_t stride) {
  std::int64_t q = 0;
  for (; q + 8 <= num_queries; q += 8)
    score_block<8>(keys, queries + q * head_dim, head_dim, scores + q * stride, stride);
  for (; q + 4 <= num_queries; q += 4)
    score_block<4>(keys, queries + q * head_dim, head_dim, scores + q * stride, stride);
  for (; q + 3 <= num_queries; q += 3)
    score_block<3>(keys, queries + q * head_dim, head_dim, scores + q * stride, stride);
  for (; q < num_queries; ++q) score_block<1>(keys, queries + q * head_dim, head_dim, scores + q * stride, stride);
}

RLUF_SIMD void add_values(const float* values, std::int64_t value_stride, std::int64_t num_tokens, const float* weights,
                          std::int64_t num_queries, std::int64_t stride, float* sums) {
  std::int64_t q = 0;
  for (; q + 4 <= num_queries; q += 4)
    value_block<4>(values, value_stride, num_tokens, weights + q * stride, stride, sums + q * value_stride);
  for (; q + 3 <= num_queries; q += 3)
    value_block<3>(values, value_stride, num_tokens, weights + q * stride, stride, sums + q * value_stride);
  for (; q < num_queries; ++q)
    value_block<1>(values, value_stride, num_tokens, weights + q * stride, stride, sums + q * value_stride);
}

/// Softmax of the first `count` of `stride` scores; the others become zero.
RLUF_SIMD void softmax(float* scores, std::int64_t count, std::int64_t stride, float scale) {
  const std::int64_t end = whole_vectors(count);
  std::fill(scores + count, scores + end, -INFINITY);
  Lanes largest = Lanes{} - INFINITY, values;
  for (std::int64_t t = 0; t < end; t += kLanes) {
    simd::load(values, scores + t);
    largest = values > largest ? values : largest;
  }
  float top = largest[0];
  for (std::int64_t i = 1; i < kLanes; ++i) top = std::max(top, largest[i]);
  Lanes sum = {};
  for (std::int64_t t = 0; t < end; t += kLanes) {
    simd::load(values, scores + t);
    values = (values - top) * scale;
    simd::exponential(values);
    sum += values;
    simd::store(values, scores + t);
  }
  const float inverse = 1.0f / simd::sum(sum);
  for (std::int64_t t = 0; t < end; t += kLanes) {
    simd::load(values, scores + t);
    values *= inverse;
    simd::store(values, scores + t);
  }
  std::fill(scores + end, scores + stride, 0.0f);
}

/// Rotary embedding of one head in the half-split form. @shape x, cos, sin [head_dim]; out, out_stride floats apart
void rotate(const float* x, const float* cos, const float* sin, std::int64_t head_dim, float* out,
            std::int64_t out_stride) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    out[i * out_stride] = x[i] * cos[i] - x[i + half] * sin[i];
    out[(i + half) * out_stride] = x[i + half] * cos[i + half] + x[i] * sin[i + half];
  }
}

/// Rows [first, last). Either they are of one sequence (one_table), or they have their first `shared` blocks in common.
struct Group {
  std::size_t first, last;
  bool one_table;
  std::int64_t shared;
};

struct Arguments {
  PagedCache& cache;
  std::span<const AttentionRow> rows;
  const float *cos, *sin, *qkv;
  float* out;
};

void store_keys_and_values(const Arguments& arguments, std::int64_t r) {
  PagedCache& cache = arguments.cache;
  const auto& [H, G, K] = cache.shape();
  const AttentionRow& row = arguments.rows[static_cast<std::size_t>(r)];
  const std::int32_t block = row.blocks[row.position / kBlockTokens];
  const std::int64_t slot = row.position % kBlockTokens;
  const float* const x = arguments.qkv + r * (H + 2 * G) * K;
  for (std::int64_t g = 0; g < G; ++g) {
    rotate(x + (H + g) * K, arguments.cos + r * K, arguments.sin + r * K, K, cache.keys(block, g) + slot, kBlockTokens);
    std::copy_n(x + (H + G + g) * K, K, cache.values(block, g) + slot * cache.value_stride());
  }
}

void attend(const Arguments& arguments, const Group& group, std::int64_t kv_head) {
  PagedCache& cache = arguments.cache;
  const auto& [H, G, K] = cache.shape();
  const std::int64_t repeats = H / G, value_stride = cache.value_stride();
  const auto rows = arguments.rows.subspan(group.first, group.last - group.first);
  const auto num_rows = static_cast<std::int64_t>(rows.size()), num_queries = num_rows * repeats;
  std::int64_t most_blocks = 0, most_tokens = 0;
  for (const AttentionRow& row : rows) {
    most_blocks = std::max(most_blocks, blocks_of(row));
    most_tokens = std::max(most_tokens, row.position + 1);
  }
  const std::int64_t stride = most_blocks * kBlockTokens, shared = group.one_table ? most_blocks : group.shared;
  thread_local std::vector<float> queries, scores, sums;
  queries.resize(static_cast<std::size_t>(num_queries * K));
  scores.resize(static_cast<std::size_t>(num_queries * stride));
  sums.assign(static_cast<std::size_t>(num_queries * value_stride), 0.0f);
  const auto row_number = [&](std::int64_t i) { return static_cast<std::int64_t>(group.first) + i; };
  for (std::int64_t i = 0; i < num_rows; ++i)
    for (std::int64_t h = 0; h < repeats; ++h)
      rotate(arguments.qkv + (row_number(i) * (H + 2 * G) + kv_head * repeats + h) * K,
             arguments.cos + row_number(i) * K, arguments.sin + row_number(i) * K, K,
             queries.data() + (i * repeats + h) * K, 1);
  /// action(block, its place in the table, first query, queries, tokens) for what the rows share, then for their own.
  const auto for_blocks_of_rows = [&](const auto& action) {
    for (std::int64_t b = 0; b < shared; ++b)
      action(rows[0].blocks[b], b, std::int64_t{0}, num_queries,
             group.one_table ? std::min(kBlockTokens, most_tokens - b * kBlockTokens) : kBlockTokens);
    for (std::int64_t i = 0; i < num_rows; ++i) {
      const AttentionRow& row = rows[static_cast<std::size_t>(i)];
      for (std::int64_t b = shared; b < blocks_of(row); ++b)
        action(row.blocks[b], b, i * repeats, repeats, std::min(kBlockTokens, row.position + 1 - b * kBlockTokens));
    }
  };
  for_blocks_of_rows([&](std::int32_t block, std::int64_t b, std::int64_t q, std::int64_t count, std::int64_t) {
    score(cache.keys(block, kv_head), queries.data() + q * K, count, K, scores.data() + q * stride + b * kBlockTokens,
          stride);
  });
  const float scale = 1.0f / std::sqrt(static_cast<float>(K));
  for (std::int64_t q = 0; q < num_queries; ++q)
    softmax(scores.data() + q * stride, rows[static_cast<std::size_t>(q / repeats)].position + 1, stride, scale);
  for_blocks_of_rows([&](std::int32_t block, std::int64_t b, std::int64_t q, std::int64_t count, std::int64_t tokens) {
    add_values(cache.values(block, kv_head), value_stride, tokens, scores.data() + q * stride + b * kBlockTokens, count,
               stride, sums.data() + q * value_stride);
  });
  for (std::int64_t q = 0; q < num_queries; ++q)
    std::copy_n(sums.data() + q * value_stride, K,
                arguments.out + (row_number(q / repeats) * H + kv_head * repeats + q % repeats) * K);
}

/// Blocks that two rows of different sequences have in common, all of them before both tokens.
std::int64_t common_blocks(const AttentionRow& a, const AttentionRow& b) {
  const std::int64_t most = std::min(a.position, b.position) / kBlockTokens;
  return std::mismatch(a.blocks, a.blocks + most, b.blocks).first - a.blocks;
}

/// Neighbours that read many of the same keys; how rows are grouped changes no number.
std::vector<Group> groups_of(std::span<const AttentionRow> rows) {
  std::vector<Group> groups;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    Group* const last = groups.empty() ? nullptr : &groups.back();
    if (last != nullptr && static_cast<std::int64_t>(r - last->first) < kMostRows) {
      const AttentionRow& head = rows[last->first];
      const bool alone = r - last->first == 1;
      if (rows[r].blocks == head.blocks) {
        if (alone || last->one_table) {
          last->last = r + 1;
          last->one_table = true;
          continue;
        }
      } else if (alone || !last->one_table) {
        const std::int64_t common = std::min(common_blocks(head, rows[r]), last->shared);
        if (2 * common >= blocks_of(rows[r]) && common > 0) {
          last->last = r + 1;
          last->shared = common;
          continue;
        }
      }
    }
    groups.push_back({r, r + 1, false, blocks_of(rows[r]) - 1});
  }
  return groups;
}

}  // namespace

PagedCache::PagedCache(const CacheShape& shape, std::int64_t num_blocks)
    : shape_(shape),
      value_stride_(whole_vectors(shape.head_dim)),
      head_floats_(kBlockTokens * (shape.head_dim + value_stride_)),
      data_(std::make_unique_for_overwrite<float[]>(
          static_cast<std::size_t>(num_blocks * shape.num_kv_heads * head_floats_))) {}

float* PagedCache::keys(std::int32_t block, std::int64_t kv_head) {
  return data_.get() + (block * shape_.num_kv_heads + kv_head) * head_floats_;
}
float* PagedCache::values(std::int32_t block, std::int64_t kv_head) {
  return keys(block, kv_head) + kBlockTokens * shape_.head_dim;
}

void PagedCache::copy_block(std::int32_t from, std::int32_t to) {
  std::copy_n(keys(from, 0), shape_.num_kv_heads * head_floats_, keys(to, 0));
}

void paged_attention(PagedCache& cache, std::span<const AttentionRow> rows, std::span<const float> cos,
                     std::span<const float> sin, std::span<const float> qkv, std::span<float> out) {
  const auto num_rows = static_cast<std::int64_t>(rows.size()), G = cache.shape().num_kv_heads;
  const Arguments arguments{cache, rows, cos.data(), sin.data(), qkv.data(), out.data()};
  for_rows("store_keys_and_values", num_rows, kFew,
           [&](const std::int64_t row) { store_keys_and_values(arguments, row); });
  const std::vector<Group> groups = groups_of(rows);
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::Schedule<Kokkos::Dynamic>>;
  Kokkos::parallel_for(
      "paged_attention", Policy(0, static_cast<std::int64_t>(groups.size()) * G),
      [&](const std::int64_t work) { attend(arguments, groups[static_cast<std::size_t>(work / G)], work % G); });
}

}  // namespace rluf
