#pragma once
/// Inner products of rows of x with rows of weights, block by block. Each source that includes this compiles it for its
/// own instruction set: nothing here is shared between sources.
#include <cstdint>
#include <cstring>

#include "rluf/kernels/linear.hpp"
#include "simd.hpp"

namespace rluf {

/// Where the rows of x and of out lie. Number: float, or std::uint16_t for the bits of bfloat16.
template <class Number>
struct LinearRows {
  const Number* x;
  std::int64_t num_rows, num_inputs;
  float* out;
  std::int64_t out_stride;
  Store store;
};

constexpr std::int64_t kOutputBlock = 6, kRowBlock = 4;  ///< outputs times rows whose sums stand in registers together

/// Products of pairs of bfloat16 by the processor's own instruction. Only where has_pair_products().
bool has_pair_products();
void pair_tile(const LinearRows<std::uint16_t>& rows, const std::uint16_t* weights, std::int64_t num_outputs,
               float* out);

namespace {

/// How far ahead weights are asked for where each is used once; the processor alone is too late.
constexpr std::int64_t kPrefetchBytes = 9216;

/// kOutputs x kRows inner products. Each has one vector of partial sums, so its value does not depend on the blocks.
/// Asks for kPrefetch rows of weights from `ahead` on meanwhile.
template <class Products, std::int64_t kOutputs, std::int64_t kRows, std::int64_t kPrefetch, class Number>
[[gnu::always_inline]] inline void linear_block(const LinearRows<Number>& rows, std::int64_t row, const Number* weights,
                                                const Number* ahead, float* out) {
  const std::int64_t K = rows.num_inputs, whole = K - K % Products::kStep;
  const Number* const x = rows.x + row * K;
  simd::Lanes sums[kRows][kOutputs] = {};
  typename Products::Vector w[kOutputs], values;
  for (std::int64_t k = 0; k < whole; k += Products::kStep) {
    for (std::int64_t n = 0; n < kOutputs; ++n) Products::load(w[n], weights + n * K + k);
    for (std::int64_t n = 0; n < kPrefetch; ++n) __builtin_prefetch(ahead + n * K + k);
    for (std::int64_t r = 0; r < kRows; ++r) {
      Products::load(values, x + r * K + k);
      for (std::int64_t n = 0; n < kOutputs; ++n) Products::add_product(sums[r][n], w[n], values);
    }
  }
  if (whole < K) {
    for (std::int64_t n = 0; n < kOutputs; ++n) Products::load_end(w[n], weights + n * K + whole, K - whole);
    for (std::int64_t r = 0; r < kRows; ++r) {
      Products::load_end(values, x + r * K + whole, K - whole);
      for (std::int64_t n = 0; n < kOutputs; ++n) Products::add_product(sums[r][n], w[n], values);
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r) {
    float totals[kOutputs];
    for (std::int64_t n = 0; n + 4 <= kOutputs; n += 4) {
      simd::Lanes4 four;
      simd::sum(sums[r][n], sums[r][n + 1], sums[r][n + 2], sums[r][n + 3], four);
      std::memcpy(totals + n, &four, sizeof four);
    }
    for (std::int64_t n = kOutputs / 4 * 4; n < kOutputs; ++n) totals[n] = simd::sum(sums[r][n]);
    float* const to = out + (row + r) * rows.out_stride;
    for (std::int64_t n = 0; n < kOutputs; ++n) to[n] = rows.store == Store::kAdd ? to[n] + totals[n] : totals[n];
  }
}

/// Rows row to row + count - 1, at most kRows, together.
template <class Products, std::int64_t kOutputs, std::int64_t kRows, class Number>
[[gnu::always_inline]] inline void last_rows(const LinearRows<Number>& rows, std::int64_t row, std::int64_t count,
                                             const Number* weights, const Number* ahead, float* out) {
  if constexpr (kRows > 0) {
    if (count == kRows) return linear_block<Products, kOutputs, kRows, kOutputs>(rows, row, weights, ahead, out);
    last_rows<Products, kOutputs, kRows - 1>(rows, row, count, weights, ahead, out);
  }
}

/// All rows of x with kOutputs rows of weights, which stay in the cache. The next ones are asked for evenly by the
/// first blocks where there are enough of them, else by the last block.
template <class Products, std::int64_t kOutputs, class Number>
[[gnu::always_inline]] inline void all_rows(const LinearRows<Number>& rows, const Number* weights, float* out) {
  const std::int64_t K = rows.num_inputs, M = rows.num_rows;
  const bool evenly = M > kOutputs * kRowBlock;
  const Number* const next = weights + kOutputs * K;
  std::int64_t row = 0;
  if (evenly)
    for (; row < kOutputs * kRowBlock; row += kRowBlock)
      linear_block<Products, kOutputs, kRowBlock, 1>(rows, row, weights, next + row / kRowBlock * K, out);
  for (; row + kRowBlock < M; row += kRowBlock)
    linear_block<Products, kOutputs, kRowBlock, 0>(rows, row, weights, next, out);
  const Number* const soon = weights + kPrefetchBytes / static_cast<std::int64_t>(sizeof(Number));
  last_rows<Products, kOutputs, kRowBlock>(rows, row, M - row, weights, M <= kRowBlock ? soon : next, out);
}

template <class Products, class Number>
[[gnu::always_inline]] inline void linear_tile(const LinearRows<Number>& rows, const Number* weights,
                                               std::int64_t num_outputs, float* out) {
  std::int64_t n = 0;
  for (; n + kOutputBlock <= num_outputs; n += kOutputBlock)
    all_rows<Products, kOutputBlock>(rows, weights + n * rows.num_inputs, out + n);
  for (; n < num_outputs; ++n) all_rows<Products, 1>(rows, weights + n * rows.num_inputs, out + n);
}

}  // namespace
}  // namespace rluf
