#include "rluf/kernels/linear.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

std::vector<float> normals(std::size_t count, std::uint64_t seed) {
  RandomStream random(seed, Purpose::kSimulation);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

float widened(std::uint16_t half) { return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16); }

/// To the nearest bfloat16, ties to even, by trying both neighbours.
float rounded(float value) {
  const auto below = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
  const double low = widened(below), high = widened(static_cast<std::uint16_t>(below + 1)), middle = (low + high) / 2;
  if (value == middle) return static_cast<float>(below % 2 == 0 ? low : high);
  return static_cast<float>(std::abs(value - low) < std::abs(value - high) ? low : high);
}

/// The upper half of each float: bfloat16, rounded towards zero.
std::vector<std::uint16_t> truncated(const std::vector<float>& values) {
  std::vector<std::uint16_t> halves;
  for (const float value : values)
    halves.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
  return halves;
}

TEST(LinearRows, EqualsTheFormulaForAnyShape) {
  for (const std::size_t K : {1u, 15u, 16u, 32u, 48u, 67u, 128u})
    for (const std::size_t num_rows : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 13u}) {
      const std::size_t N1 = 37, N2 = 5;
      const auto x = normals(num_rows * K, 1), first = normals(N1 * K, 2);
      const auto second = truncated(normals(N2 * K, 3));
      const std::vector<WeightMatrix> weights{{first.data(), false, 37}, {second.data(), true, 5}};
      std::vector<float> out(num_rows * (N1 + N2), 7.0f), added(num_rows * (N1 + N2), 7.0f);
      linear_rows(x, static_cast<std::int64_t>(K), weights, out);
      linear_rows(x, static_cast<std::int64_t>(K), weights, added, Store::kAdd);
      for (std::size_t r = 0; r < num_rows; ++r)
        for (std::size_t n = 0; n < N1 + N2; ++n) {
          double expected = 0;
          for (std::size_t k = 0; k < K; ++k)
            expected += n < N1 ? static_cast<double>(x[r * K + k]) * first[n * K + k]
                               : static_cast<double>(rounded(x[r * K + k])) * widened(second[(n - N1) * K + k]);
          EXPECT_NEAR(out[r * (N1 + N2) + n], expected, 1e-4) << K << " " << num_rows << " " << r << " " << n;
          EXPECT_FLOAT_EQ(added[r * (N1 + N2) + n], 7.0f + out[r * (N1 + N2) + n]);
        }
    }
}

TEST(LinearRows, ARowDoesNotDependOnTheOthers) {
  constexpr std::size_t kInputs = 100, kRows = 15, kOutputs = 50;
  const auto x = normals(kRows * kInputs, 1), weight = normals(kOutputs * kInputs, 2);
  const auto halves = truncated(weight);
  for (const bool is_bfloat16 : {false, true}) {
    const void* const data = is_bfloat16 ? static_cast<const void*>(halves.data()) : weight.data();
    const WeightMatrix matrix{data, is_bfloat16, kOutputs};
    std::vector<float> together(kRows * kOutputs), alone(kOutputs);
    linear_rows(x, kInputs, {&matrix, 1}, together);
    for (std::size_t r = 0; r < kRows; ++r) {
      linear_rows(std::span(x).subspan(r * kInputs, kInputs), kInputs, {&matrix, 1}, alone);
      for (std::size_t n = 0; n < kOutputs; ++n)
        EXPECT_EQ(alone[n], together[r * kOutputs + n]) << r << " " << n << " " << is_bfloat16;
    }
  }
}

}  // namespace
}  // namespace rluf
