#include "rluf/kernels/linear.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <vector>

#include "linear_tile.hpp"
#include "rluf/core/error.hpp"
#include "rows.hpp"

namespace rluf {
namespace {

using simd::kLanes;
using simd::Lanes;

/// Outputs that a thread takes at a time: enough tiles for an even load, each a long stretch of memory.
constexpr std::int64_t kTilesPerThread = 4, kSmallestTile = 36, kLargestTile = 192;
constexpr std::int64_t kFew = 8;  ///< rows that one thread rounds to bfloat16

/// Products of float32, or of bfloat16 widened to it.
struct WideProducts {
  static constexpr std::int64_t kStep = kLanes;
  using Vector = Lanes;
  template <class Number>
  [[gnu::always_inline]] static void load(Vector& to, const Number* from) {
    simd::load(to, from);
  }
  template <class Number>
  [[gnu::always_inline]] static void load_end(Vector& to, const Number* from, std::int64_t count) {
    Number numbers[kLanes] = {};
    for (std::int64_t i = 0; i < count; ++i) numbers[i] = from[i];
    asm("" : "+m"(numbers));  // what the compiler knows of these numbers must not change how it adds their products
    simd::load(to, numbers);
  }
  [[gnu::always_inline]] static void add_product(Lanes& sum, const Lanes& a, const Lanes& b) { sum += a * b; }
};

RLUF_SIMD void float_tile(const LinearRows<float>& rows, const float* weights, std::int64_t num_outputs, float* out) {
  linear_tile<WideProducts>(rows, weights, num_outputs, out);
}

RLUF_SIMD void widened_tile(const LinearRows<std::uint16_t>& rows, const std::uint16_t* weights,
                            std::int64_t num_outputs, float* out) {
  linear_tile<WideProducts>(rows, weights, num_outputs, out);
}

RLUF_SIMD void narrow_row(const float* x, std::int64_t count, std::uint16_t* out) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    Lanes values = {};
    simd::load(values, x + i, count - i);
    simd::HalfBits halves;
    simd::narrow(values, halves);
    std::memcpy(out + i, &halves, static_cast<std::size_t>(std::min(kLanes, count - i)) * sizeof *out);
  }
}

/// The rows of x rounded to bfloat16. The memory is this thread's, good until its next call.
const std::uint16_t* narrow_rows(std::span<const float> x, std::int64_t num_rows) {
  thread_local std::vector<std::uint16_t> rounded;
  rounded.resize(x.size());
  std::uint16_t* const out = rounded.data();
  const std::int64_t count = static_cast<std::int64_t>(x.size()) / num_rows;
  for_rows("narrow_rows", num_rows, kFew,
           [=](const std::int64_t r) { narrow_row(x.data() + r * count, count, out + r * count); });
  return out;
}

/// A stretch of the outputs of one matrix.
struct Tile {
  const WeightMatrix* matrix;
  std::int64_t first, count, column;
};

std::vector<Tile> tiles_of(std::span<const WeightMatrix> weights, std::int64_t num_columns) {
  const std::int64_t wanted = num_columns / (kTilesPerThread * Kokkos::DefaultHostExecutionSpace().concurrency());
  const std::int64_t tile_outputs = std::clamp(wanted - wanted % kOutputBlock, kSmallestTile, kLargestTile);
  std::vector<Tile> tiles;
  std::int64_t column = 0;
  for (const WeightMatrix& matrix : weights) {
    for (std::int64_t first = 0; first < matrix.num_outputs; first += tile_outputs)
      tiles.push_back({&matrix, first, std::min(tile_outputs, matrix.num_outputs - first), column + first});
    column += matrix.num_outputs;
  }
  return tiles;
}

}  // namespace

void linear_rows(std::span<const float> x, std::int64_t num_inputs, std::span<const WeightMatrix> weights,
                 std::span<float> out, Store store) {
  std::int64_t num_columns = 0;
  bool any_bfloat16 = false;
  for (const WeightMatrix& matrix : weights) {
    num_columns += matrix.num_outputs;
    any_bfloat16 = any_bfloat16 || matrix.is_bfloat16;
  }
  const auto num_rows = static_cast<std::int64_t>(x.size()) / num_inputs;
  RLUF_ASSERT(static_cast<std::int64_t>(x.size()) == num_rows * num_inputs &&
              static_cast<std::int64_t>(out.size()) == num_rows * num_columns);
  if (num_rows == 0) return;
  const LinearRows<float> rows{x.data(), num_rows, num_inputs, out.data(), num_columns, store};
  const LinearRows<std::uint16_t> rounded{
      any_bfloat16 ? narrow_rows(x, num_rows) : nullptr, num_rows, num_inputs, out.data(), num_columns, store};
  const auto bfloat16_tile = has_pair_products() ? pair_tile : widened_tile;
  const std::vector<Tile> tiles = tiles_of(weights, num_columns);
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::Schedule<Kokkos::Dynamic>>;
  Kokkos::parallel_for("linear_rows", Policy(0, static_cast<std::int64_t>(tiles.size())), [&](const std::int64_t t) {
    const Tile& tile = tiles[static_cast<std::size_t>(t)];
    const std::int64_t offset = tile.first * num_inputs;
    float* const to = out.data() + tile.column;
    if (tile.matrix->is_bfloat16) {
      bfloat16_tile(rounded, static_cast<const std::uint16_t*>(tile.matrix->data) + offset, tile.count, to);
    } else {
      float_tile(rows, static_cast<const float*>(tile.matrix->data) + offset, tile.count, to);
    }
  });
}

}  // namespace rluf
