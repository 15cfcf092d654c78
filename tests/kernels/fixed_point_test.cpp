#include "rluf/kernels/fixed_point.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

/// Terms whose exponents lie far apart, so that float32 sums of them differ with the order.
std::vector<std::vector<float>> terms(std::size_t num_terms, std::size_t n) {
  RandomStream random(3, Purpose::kSimulation);
  std::vector<std::vector<float>> result(num_terms, std::vector<float>(n));
  for (auto& term : result)
    for (float& value : term)
      value = static_cast<float>(random.normal() * std::pow(2.0, static_cast<double>(random.below(30)) - 24.0));
  return result;
}

std::vector<float> sum_in_order(const std::vector<std::vector<float>>& values, const std::vector<std::size_t>& order) {
  const std::size_t n = values[0].size();
  std::vector<std::int64_t> sums(n, 0);
  const double largest = largest_term(static_cast<std::int64_t>(values.size()));
  for (const std::size_t i : order) EXPECT_TRUE(add_fixed_point(values[i], largest, sums));
  std::vector<float> result(n);
  from_fixed_point(sums, result);
  return result;
}

TEST(FixedPoint, AnyOrderGivesTheSameBits) {
  const auto values = terms(12, 40000);
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto first = sum_in_order(values, order);
  std::size_t float_differs = 0;
  for (int trial = 0; trial < 5; ++trial) {
    std::rotate(order.begin(), order.begin() + 5, order.end());
    std::swap(order[0], order[static_cast<std::size_t>(trial) + 1]);
    EXPECT_EQ(sum_in_order(values, order), first);
  }
  for (std::size_t i = 0; i < first.size(); ++i) {
    double exact = 0;
    float forward = 0, backward = 0;
    for (std::size_t k = 0; k < values.size(); ++k) {
      exact += values[k][i];
      forward += values[k][i];
      backward += values[values.size() - 1 - k][i];
    }
    EXPECT_NEAR(first[i], exact, std::abs(exact) * 6e-8 + 12 * std::ldexp(1.0, -kFixedPointBits)) << i;
    if (forward != backward) ++float_differs;
  }
  EXPECT_GT(float_differs, 1000U) << "these terms would tell nothing";
}

TEST(FixedPoint, WhatDoesNotFitIsSeen) {
  std::vector<std::int64_t> sums(3, 0);
  const double largest = largest_term(4);
  EXPECT_TRUE(add_fixed_point(std::vector<float>{1, static_cast<float>(largest), 0}, largest, sums));
  for (const float bad : {static_cast<float>(largest * 1.01), std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN(), -2 * static_cast<float>(largest)})
    EXPECT_FALSE(add_fixed_point(std::vector<float>{0, bad, 0}, largest, sums)) << bad;
  // As many of the largest as were announced do not overflow.
  std::vector<std::int64_t> full(1, 0);
  for (int i = 0; i < 4; ++i)
    EXPECT_TRUE(add_fixed_point(std::vector<float>{-static_cast<float>(largest)}, largest, full));
  std::vector<float> total(1);
  from_fixed_point(full, total);
  EXPECT_EQ(total[0], -4 * static_cast<float>(largest));
}

TEST(FixedPoint, RowSquares) {
  const auto values = terms(1, 300 * 37)[0];
  std::vector<double> sums(300);
  row_squares(values, sums);
  for (std::size_t row = 0; row < sums.size(); ++row) {
    double expected = 0;
    for (std::size_t i = row * 37; i < (row + 1) * 37; ++i) expected += static_cast<double>(values[i]) * values[i];
    EXPECT_NEAR(sums[row], expected, 1e-12 * expected) << row;
  }
  row_squares({}, {});
}

TEST(FixedPoint, WideSumsAddUpInAnyOrder) {
  const auto single = terms(1, 5000)[0];
  std::vector<double> values;
  for (const float value : single) values.push_back(std::abs(static_cast<double>(value)) * 1e9);
  const double largest = *std::max_element(values.begin(), values.end());
  long double exact = 0;
  for (const double value : values) exact += value;
  const auto whole = wide_sum(values, largest);
  EXPECT_NEAR(wide_value(whole, largest), static_cast<double>(exact), 1e-15 * static_cast<double>(exact));
  std::array<std::int64_t, 2> parts{};
  for (const auto& [first, last] : {std::pair{3000, 5000}, std::pair{0, 17}, std::pair{17, 3000}}) {
    const auto part = wide_sum(
        std::span(values).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)), largest);
    parts[0] += part[0];
    parts[1] += part[1];
  }
  EXPECT_EQ(parts, whole);
  const std::vector<double> full(1 << 20, largest);  // no overflow
  EXPECT_DOUBLE_EQ(wide_value(wide_sum(full, largest), largest), largest * (1 << 20));
}

}  // namespace
}  // namespace rluf
