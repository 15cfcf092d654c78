#include "rluf/kernels/decode.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <vector>

namespace rluf {

void decode_attention(const DecodeShape& shape, std::span<const float> q, std::span<const float> keys,
                      std::span<const float> values, std::span<const std::int64_t> lengths, std::span<float> out) {
  const std::int64_t K = shape.head_dim, H = shape.num_heads, G = shape.num_kv_heads, repeats = H / G;
  const float scale = 1.0f / std::sqrt(static_cast<float>(K));
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>;
  Kokkos::parallel_for("decode_attention", Policy(0, shape.num_sequences * H), [&](const std::int64_t work) {
    const std::int64_t s = work / H, h = work % H, length = lengths[static_cast<std::size_t>(s)];
    const std::int64_t cache = (s * G + h / repeats) * shape.capacity * K;
    const float* const query = q.data() + work * K;
    const float* const key = keys.data() + cache;
    const float* const value = values.data() + cache;
    float* const result = out.data() + work * K;
    thread_local std::vector<float> weights;
    weights.resize(static_cast<std::size_t>(length));
    float largest = -INFINITY;
    for (std::int64_t t = 0; t < length; ++t) {
      float product = 0;
#pragma omp simd reduction(+ : product)
      for (std::int64_t i = 0; i < K; ++i) product += query[i] * key[t * K + i];
      weights[static_cast<std::size_t>(t)] = product * scale;
      largest = std::max(largest, product * scale);
    }
    float sum = 0;
    std::fill(result, result + K, 0.0f);
    for (std::int64_t t = 0; t < length; ++t) {
      const float weight = std::exp(weights[static_cast<std::size_t>(t)] - largest);
      sum += weight;
#pragma omp simd
      for (std::int64_t i = 0; i < K; ++i) result[i] += weight * value[t * K + i];
    }
    for (std::int64_t i = 0; i < K; ++i) result[i] /= sum;
  });
}

}  // namespace rluf
