#include "rluf/kernels/linear.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <vector>

#include "rluf/core/error.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

using simd::kLanes;
using simd::Lanes;

constexpr std::int64_t kBlock = 4;             ///< rows of x, and outputs, whose sums stand in registers together
constexpr std::int64_t kPrefetchBytes = 9216;  ///< how far ahead weights are asked for; the processor alone is too late
/// Outputs that a thread takes at a time: enough tiles for an even load, each a long stretch of memory.
constexpr std::int64_t kTilesPerThread = 4, kSmallestTile = 32, kLargestTile = 192;

/// Where the rows of x and of out lie.
struct Rows {
  const float* x;
  std::int64_t num_rows, num_inputs;
  float* out;
  std::int64_t out_stride;
  Store store;
};

/// kOutputs x kRows inner products. Each has one vector of partial sums, so its value does not depend on the blocks.
/// kPrefetch: asks for later weights meanwhile.
template <std::int64_t kOutputs, std::int64_t kRows, bool kPrefetch, class Weight>
[[gnu::always_inline]] inline void block(const Rows& rows, std::int64_t row, const Weight* weights, float* out) {
  const std::int64_t K = rows.num_inputs, whole = K - K % kLanes;
  const float* const x = rows.x + row * K;
  Lanes sums[kOutputs][kRows] = {};
  for (std::int64_t k = 0; k < whole; k += kLanes) {
    Lanes w[kOutputs];
    for (std::int64_t n = 0; n < kOutputs; ++n) {
      simd::load(w[n], weights + n * K + k);
      if constexpr (kPrefetch) __builtin_prefetch(reinterpret_cast<const char*>(weights + n * K + k) + kPrefetchBytes);
    }
    for (std::int64_t r = 0; r < kRows; ++r) {
      Lanes values;
      simd::load(values, x + r * K + k);
      for (std::int64_t n = 0; n < kOutputs; ++n) sums[n][r] += w[n] * values;
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t n = 0; n < kOutputs; ++n) {
      float total = simd::sum(sums[n][r]);
      for (std::int64_t k = whole; k < K; ++k) total += x[r * K + k] * simd::widen(weights[n * K + k]);
      float& to = out[(row + r) * rows.out_stride + n];
      to = rows.store == Store::kAdd ? to + total : total;
    }
}

/// All rows of x with kOutputs rows of weights, which stay in the cache.
template <std::int64_t kOutputs, class Weight>
[[gnu::always_inline]] inline void all_rows(const Rows& rows, const Weight* weights, float* out) {
  std::int64_t row = 0;
  for (; row + kBlock < rows.num_rows; row += kBlock) block<kOutputs, kBlock, false>(rows, row, weights, out);
  switch (rows.num_rows - row) {  // the last ones fetch the next weights while they compute
    case 4:
      return block<kOutputs, 4, true>(rows, row, weights, out);
    case 3:
      return block<kOutputs, 3, true>(rows, row, weights, out);
    case 2:
      return block<kOutputs, 2, true>(rows, row, weights, out);
    case 1:
      return block<kOutputs, 1, true>(rows, row, weights, out);
  }
}

template <class Weight>
[[gnu::always_inline]] inline void tile(const Rows& rows, const Weight* weights, std::int64_t num_outputs, float* out) {
  std::int64_t n = 0;
  for (; n + kBlock <= num_outputs; n += kBlock) all_rows<kBlock>(rows, weights + n * rows.num_inputs, out + n);
  for (; n < num_outputs; ++n) all_rows<1>(rows, weights + n * rows.num_inputs, out + n);
}

RLUF_SIMD void tile_float(const Rows& rows, const float* weights, std::int64_t num_outputs, float* out) {
  tile(rows, weights, num_outputs, out);
}

RLUF_SIMD void tile_bfloat16(const Rows& rows, const std::uint16_t* weights, std::int64_t num_outputs, float* out) {
  tile(rows, weights, num_outputs, out);
}

}  // namespace

void linear_rows(std::span<const float> x, std::int64_t num_inputs, std::span<const WeightMatrix> weights,
                 std::span<float> out, Store store) {
  struct Tile {
    const WeightMatrix* matrix;
    std::int64_t first, count, column;
  };
  std::int64_t num_columns = 0;
  for (const WeightMatrix& matrix : weights) num_columns += matrix.num_outputs;
  const std::int64_t wanted = num_columns / (kTilesPerThread * Kokkos::DefaultHostExecutionSpace().concurrency());
  const std::int64_t tile_outputs = std::clamp(wanted - wanted % kBlock, kSmallestTile, kLargestTile);
  std::vector<Tile> tiles;
  std::int64_t column = 0;
  for (const WeightMatrix& matrix : weights) {
    for (std::int64_t first = 0; first < matrix.num_outputs; first += tile_outputs)
      tiles.push_back({&matrix, first, std::min(tile_outputs, matrix.num_outputs - first), column + first});
    column += matrix.num_outputs;
  }
  const auto num_rows = static_cast<std::int64_t>(x.size()) / num_inputs;
  RLUF_ASSERT(static_cast<std::int64_t>(x.size()) == num_rows * num_inputs &&
              static_cast<std::int64_t>(out.size()) == num_rows * num_columns);
  const Rows rows{x.data(), num_rows, num_inputs, out.data(), num_columns, store};
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::Schedule<Kokkos::Dynamic>>;
  Kokkos::parallel_for("linear_rows", Policy(0, static_cast<std::int64_t>(tiles.size())), [&](const std::int64_t t) {
    const Tile& work = tiles[static_cast<std::size_t>(t)];
    const std::int64_t offset = work.first * num_inputs;
    if (work.matrix->is_bfloat16) {
      tile_bfloat16(rows, static_cast<const std::uint16_t*>(work.matrix->data) + offset, work.count,
                    rows.out + work.column);
    } else {
      tile_float(rows, static_cast<const float*>(work.matrix->data) + offset, work.count, rows.out + work.column);
    }
  });
}

}  // namespace rluf
