#include "rluf/kernels/fixed_point.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "rluf/core/error.hpp"
#include "rows.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

constexpr double kOne = static_cast<double>(std::int64_t{1} << kFixedPointBits);

RLUF_SIMD bool add_block(const float* values, std::int64_t count, float largest, std::int64_t* sums) {
  int bad = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = values[i];
    const bool fits = std::abs(value) <= largest;  // not NaN either
    bad |= fits ? 0 : 1;
    sums[i] += static_cast<std::int64_t>(static_cast<double>(fits ? value : 0.0f) * kOne);
  }
  return bad == 0;
}

RLUF_SIMD void read_block(const std::int64_t* sums, std::int64_t count, float* values) {
  for (std::int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(static_cast<double>(sums[i]) / kOne);
}

RLUF_SIMD double squares_of_block(const float* values, std::int64_t count) {
  double lanes[8] = {};
  const std::int64_t whole = count - count % 8;
  for (std::int64_t i = 0; i < whole; i += 8)
    for (std::int64_t k = 0; k < 8; ++k)
      lanes[k] += static_cast<double>(values[i + k]) * static_cast<double>(values[i + k]);
  for (std::int64_t i = whole; i < count; ++i)
    lanes[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// Digits of each half of a wide sum: 2^24 terms of them fit in 63 bits.
constexpr int kWideBits = 38;

std::size_t num_blocks(std::size_t n) { return (n + kElementBlock - 1) / kElementBlock; }

}  // namespace

double largest_term(std::int64_t num_terms) {
  RLUF_ASSERT(num_terms > 0);
  return std::ldexp(1.0, 62 - kFixedPointBits) / static_cast<double>(num_terms);
}

bool add_fixed_point(std::span<const float> values, double largest, std::span<std::int64_t> sums) {
  RLUF_ASSERT(values.size() == sums.size());
  std::vector<char> good(num_blocks(values.size()), 1);
  for_blocks("add_fixed_point", static_cast<std::int64_t>(values.size()),
             [&](std::size_t block, std::int64_t first, std::int64_t count) {
               good[block] =
                   add_block(values.data() + first, count, static_cast<float>(largest), sums.data() + first) ? 1 : 0;
             });
  return std::find(good.begin(), good.end(), 0) == good.end();
}

void from_fixed_point(std::span<const std::int64_t> sums, std::span<float> values) {
  RLUF_ASSERT(values.size() == sums.size());
  for_blocks("from_fixed_point", static_cast<std::int64_t>(values.size()),
             [&](std::size_t, std::int64_t first, std::int64_t count) {
               read_block(sums.data() + first, count, values.data() + first);
             });
}

void row_squares(std::span<const float> values, std::span<double> sums) {
  if (sums.empty()) return;
  const std::int64_t length = static_cast<std::int64_t>(values.size() / sums.size());
  RLUF_ASSERT(values.size() == sums.size() * static_cast<std::size_t>(length));
  for_rows("row_squares", static_cast<std::int64_t>(sums.size()), kElementBlock / std::max<std::int64_t>(1, length),
           [&](const std::int64_t row) {
             sums[static_cast<std::size_t>(row)] = squares_of_block(values.data() + row * length, length);
           });
}

std::array<std::int64_t, 2> wide_sum(std::span<const double> values, double largest) {
  std::array<std::int64_t, 2> sum{};
  const int exponent = std::ilogb(largest) + 1;
  for (const double value : values) {
    const double scaled = std::ldexp(value, kWideBits - exponent), whole = std::floor(scaled);
    sum[0] += static_cast<std::int64_t>(whole);
    sum[1] += static_cast<std::int64_t>(std::ldexp(scaled - whole, kWideBits));
  }
  return sum;
}

double wide_value(const std::array<std::int64_t, 2>& sum, double largest) {
  const double scaled = static_cast<double>(sum[0]) + std::ldexp(static_cast<double>(sum[1]), -kWideBits);
  return std::ldexp(scaled, std::ilogb(largest) + 1 - kWideBits);
}

}  // namespace rluf
