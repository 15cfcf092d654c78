// Letters as in the header; Q queries that read the same keys, L tokens, all padded to whole vectors where they lie in
// memory. Padding holds zeros, and weights beyond the last token are zero.
#include "rluf/kernels/decode.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

using simd::kLanes;
using simd::Lanes;

constexpr std::int64_t kBlock = 4;  ///< queries whose sums stand in registers together

std::int64_t whole_vectors(std::int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

/// A stretch of the cache: keys [K][stride], values [tokens][value_stride].
struct Stretch {
  const float* keys;
  const float* values;
  std::int64_t num_tokens, key_stride, value_stride;
};

/// scores[q][t] = query q times key t. @shape queries [kQueries, K]; scores [kQueries, score_stride]
template <std::int64_t kQueries>
[[gnu::always_inline]] inline void score_block(const Stretch& stretch, const float* queries, std::int64_t head_dim,
                                               float* scores, std::int64_t score_stride) {
  for (std::int64_t t = 0; t < stretch.num_tokens; t += kLanes) {
    Lanes sums[kQueries] = {}, keys;
    for (std::int64_t d = 0; d < head_dim; ++d) {
      simd::load(keys, stretch.keys + d * stretch.key_stride + t);
      for (std::int64_t q = 0; q < kQueries; ++q) sums[q] += keys * queries[q * head_dim + d];
    }
    for (std::int64_t q = 0; q < kQueries; ++q) simd::store(sums[q], scores + q * score_stride + t);
  }
}

/// sums[q] += the values weighted by weights[q]. @shape weights [kQueries, score_stride], sums [kQueries, value_stride]
template <std::int64_t kQueries>
[[gnu::always_inline]] inline void value_block(const Stretch& stretch, const float* weights, std::int64_t score_stride,
                                               float* sums) {
  for (std::int64_t d = 0; d < stretch.value_stride; d += kLanes) {
    Lanes totals[kQueries], values;
    for (std::int64_t q = 0; q < kQueries; ++q) simd::load(totals[q], sums + q * stretch.value_stride + d);
    for (std::int64_t t = 0; t < stretch.num_tokens; ++t) {
      simd::load(values, stretch.values + t * stretch.value_stride + d);
      for (std::int64_t q = 0; q < kQueries; ++q) totals[q] += values * weights[q * score_stride + t];
    }
    for (std::int64_t q = 0; q < kQueries; ++q) simd::store(totals[q], sums + q * stretch.value_stride + d);
  }
}

RLUF_SIMD void score(const Stretch& stretch, const float* queries, std::int64_t num_queries, std::int64_t head_dim,
                     float* scores, std::int64_t score_stride) {
  std::int64_t q = 0;
  for (; q + kBlock <= num_queries; q += kBlock)
    score_block<kBlock>(stretch, queries + q * head_dim, head_dim, scores + q * score_stride, score_stride);
  for (; q < num_queries; ++q)
    score_block<1>(stretch, queries + q * head_dim, head_dim, scores + q * score_stride, score_stride);
}

RLUF_SIMD void add_values(const Stretch& stretch, const float* weights, std::int64_t num_queries,
                          std::int64_t score_stride, float* sums) {
  std::int64_t q = 0;
  for (; q + kBlock <= num_queries; q += kBlock)
    value_block<kBlock>(stretch, weights + q * score_stride, score_stride, sums + q * stretch.value_stride);
  for (; q < num_queries; ++q)
    value_block<1>(stretch, weights + q * score_stride, score_stride, sums + q * stretch.value_stride);
}

/// Softmax of the scores that belong to tokens: the prompt's, then from `own_start` on the sequence's own.
RLUF_SIMD void softmax(float* scores, std::int64_t prompt_length, std::int64_t own_start, std::int64_t own_length,
                       float scale) {
  const std::int64_t end = own_start + own_length;
  std::fill(scores + prompt_length, scores + own_start, -INFINITY);
  std::fill(scores + end, scores + (end + kLanes - 1) / kLanes * kLanes, -INFINITY);
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
  for (std::int64_t t = 0; t < end; ++t) scores[t] *= inverse;
}

/// Rotary embedding of one head in the half-split form. @shape x, cos, sin, out [head_dim]
void rotate(const float* x, const float* cos, const float* sin, std::int64_t head_dim, float* out) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    out[i] = x[i] * cos[i] - x[i + half] * sin[i];
    out[i + half] = x[i + half] * cos[i + half] + x[i] * sin[i + half];
  }
}

/// All sequences [first, last) of one prompt, for one key/value head.
struct Work {
  std::size_t first, last;
  std::int64_t kv_head;
};

struct Arguments {
  DecodeCache& cache;
  std::span<const DecodeSequence> sequences;
  const float *cos, *sin, *qkv;
  float* out;
};

void attend(const Arguments& arguments, const Work& work) {
  DecodeCache& cache = arguments.cache;
  const DecodeShape& shape = cache.shape();
  const std::int64_t K = shape.head_dim, H = shape.num_heads, G = shape.num_kv_heads, repeats = H / G;
  const auto num_sequences = static_cast<std::int64_t>(work.last - work.first);
  const DecodeSequence& first = arguments.sequences[work.first];
  std::int64_t longest = 0;
  for (std::size_t s = work.first; s < work.last; ++s)
    longest = std::max(longest, arguments.sequences[s].own_length + 1);
  const std::int64_t own_start = whole_vectors(first.prompt_length), stride = own_start + whole_vectors(longest);
  thread_local std::vector<float> queries, scores, sums;
  queries.resize(static_cast<std::size_t>(num_sequences * repeats * K));
  scores.resize(static_cast<std::size_t>(num_sequences * repeats * stride));
  sums.assign(static_cast<std::size_t>(num_sequences * repeats * cache.value_stride()), 0.0f);

  const Stretch prompt{cache.prompt_keys(first.prompt, work.kv_head), cache.prompt_values(first.prompt, work.kv_head),
                       first.prompt_length, cache.prompt_stride(), cache.value_stride()};
  std::vector<Stretch> own;
  for (std::int64_t i = 0; i < num_sequences; ++i) {
    const DecodeSequence& sequence = arguments.sequences[work.first + static_cast<std::size_t>(i)];
    const auto row = static_cast<std::int64_t>(work.first) + i;
    const float *const cos = arguments.cos + row * K, *const sin = arguments.sin + row * K;
    const float* const x = arguments.qkv + row * (H + 2 * G) * K;
    for (std::int64_t h = 0; h < repeats; ++h)
      rotate(x + (work.kv_head * repeats + h) * K, cos, sin, K, queries.data() + (i * repeats + h) * K);
    float* const keys = cache.own_keys(sequence.slot, work.kv_head);
    float* const values = cache.own_values(sequence.slot, work.kv_head) + sequence.own_length * cache.value_stride();
    std::copy_n(x + (H + G + work.kv_head) * K, K, values);
    thread_local std::vector<float> key;
    key.resize(static_cast<std::size_t>(K));
    rotate(x + (H + work.kv_head) * K, cos, sin, K, key.data());
    for (std::int64_t d = 0; d < K; ++d)
      keys[d * cache.own_stride() + sequence.own_length] = key[static_cast<std::size_t>(d)];
    own.push_back({keys, cache.own_values(sequence.slot, work.kv_head), sequence.own_length + 1, cache.own_stride(),
                   cache.value_stride()});
  }

  score(prompt, queries.data(), num_sequences * repeats, K, scores.data(), stride);
  const float scale = 1.0f / std::sqrt(static_cast<float>(K));
  for (std::int64_t i = 0; i < num_sequences; ++i) {
    float* const row = scores.data() + i * repeats * stride;
    const Stretch& tokens = own[static_cast<std::size_t>(i)];
    score(tokens, queries.data() + i * repeats * K, repeats, K, row + own_start, stride);
    for (std::int64_t h = 0; h < repeats; ++h)
      softmax(row + h * stride, prompt.num_tokens, own_start, tokens.num_tokens, scale);
  }
  add_values(prompt, scores.data(), num_sequences * repeats, stride, sums.data());
  for (std::int64_t i = 0; i < num_sequences; ++i)
    add_values(own[static_cast<std::size_t>(i)], scores.data() + i * repeats * stride + own_start, repeats, stride,
               sums.data() + i * repeats * cache.value_stride());
  for (std::int64_t i = 0; i < num_sequences * repeats; ++i)
    std::copy_n(
        sums.data() + i * cache.value_stride(), K,
        arguments.out +
            ((static_cast<std::int64_t>(work.first) + i / repeats) * H + work.kv_head * repeats + i % repeats) * K);
}

}  // namespace

DecodeCache::DecodeCache(const DecodeShape& shape, std::int64_t num_prompts, std::int64_t num_slots)
    : shape_(shape),
      prompt_stride_(whole_vectors(shape.prompt_capacity)),
      own_stride_(whole_vectors(shape.own_capacity)),
      value_stride_(whole_vectors(shape.head_dim)) {
  const auto floats = [&](std::int64_t parts, std::int64_t tokens, std::int64_t width) {
    return static_cast<std::size_t>(parts * shape.num_kv_heads * tokens * width);
  };
  prompt_keys_.resize(floats(num_prompts, prompt_stride_, shape.head_dim));
  prompt_values_.resize(floats(num_prompts, shape.prompt_capacity, value_stride_));
  own_keys_.resize(floats(num_slots, own_stride_, shape.head_dim));
  own_values_.resize(floats(num_slots, shape.own_capacity, value_stride_));
}

float* DecodeCache::prompt_keys(std::int64_t prompt, std::int64_t kv_head) {
  return prompt_keys_.data() + (prompt * shape_.num_kv_heads + kv_head) * shape_.head_dim * prompt_stride_;
}
float* DecodeCache::prompt_values(std::int64_t prompt, std::int64_t kv_head) {
  return prompt_values_.data() + (prompt * shape_.num_kv_heads + kv_head) * shape_.prompt_capacity * value_stride_;
}
float* DecodeCache::own_keys(std::int64_t slot, std::int64_t kv_head) {
  return own_keys_.data() + (slot * shape_.num_kv_heads + kv_head) * shape_.head_dim * own_stride_;
}
float* DecodeCache::own_values(std::int64_t slot, std::int64_t kv_head) {
  return own_values_.data() + (slot * shape_.num_kv_heads + kv_head) * shape_.own_capacity * value_stride_;
}

void DecodeCache::set_prompt(std::int64_t prompt, std::span<const float> keys, std::span<const float> values) {
  const std::int64_t G = shape_.num_kv_heads, K = shape_.head_dim;
  const std::int64_t num_tokens = static_cast<std::int64_t>(keys.size()) / (G * K);
  RLUF_ASSERT(keys.size() == values.size() && num_tokens <= shape_.prompt_capacity);
  for (std::int64_t g = 0; g < G; ++g)
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      const std::int64_t from = (t * G + g) * K;
      for (std::int64_t d = 0; d < K; ++d)
        prompt_keys(prompt, g)[d * prompt_stride_ + t] = keys[static_cast<std::size_t>(from + d)];
      std::copy_n(values.data() + from, K, prompt_values(prompt, g) + t * value_stride_);
    }
}

void decode_attention(DecodeCache& cache, std::span<const DecodeSequence> sequences, std::span<const float> cos,
                      std::span<const float> sin, std::span<const float> qkv, std::span<float> out) {
  std::vector<Work> works;
  for (std::size_t first = 0; first < sequences.size();) {
    std::size_t last = first + 1;
    while (last < sequences.size() && sequences[last].prompt == sequences[first].prompt) ++last;
    for (std::int64_t g = 0; g < cache.shape().num_kv_heads; ++g) works.push_back({first, last, g});
    first = last;
  }
  const Arguments arguments{cache, sequences, cos.data(), sin.data(), qkv.data(), out.data()};
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::Schedule<Kokkos::Dynamic>>;
  Kokkos::parallel_for("decode_attention", Policy(0, static_cast<std::int64_t>(works.size())),
                       [&](const std::int64_t work) { attend(arguments, works[static_cast<std::size_t>(work)]); });
}

}  // namespace rluf
