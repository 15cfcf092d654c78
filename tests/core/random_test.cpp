#include "rluf/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace rluf {
namespace {

TEST(Philox, MatchesThePublishedVectors) {
  // Known answers of the Random123 distribution (philox4x32, 10 rounds).
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, IsAPureFunctionOfItsCoordinates) {
  RandomStream a(7, Purpose::kSampling, 3, 11), b(7, Purpose::kSampling, 3, 11);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.uniform(), b.uniform());
}

TEST(RandomStream, DiffersInEveryCoordinate) {
  std::set<std::uint32_t> firsts;
  int streams = 0;
  for (std::uint64_t seed : {1ull, 2ull, 1ull << 40})
    for (auto purpose : {Purpose::kShuffle, Purpose::kSampling})
      for (std::uint64_t step : {0ull, 1ull, 1ull << 33})
        for (std::uint64_t example : {0ull, 1ull, 1ull << 35}) {
          firsts.insert(RandomStream(seed, purpose, step, example).next_bits());
          ++streams;
        }
  EXPECT_EQ(static_cast<int>(firsts.size()), streams);
}

TEST(RandomStream, HasTheRightMoments) {
  RandomStream random(5, Purpose::kSimulation);
  const int n = 200000;
  double uniform_sum = 0, normal_sum = 0, normal_squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform(), z = random.normal();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    uniform_sum += u;
    normal_sum += z;
    normal_squares += z * z;
  }
  EXPECT_NEAR(uniform_sum / n, 0.5, 0.004);
  EXPECT_NEAR(normal_sum / n, 0.0, 0.01);
  EXPECT_NEAR(normal_squares / n, 1.0, 0.02);
}

TEST(RandomStream, BelowIsUniform) {
  RandomStream random(9, Purpose::kBootstrap);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 500);
}

TEST(ShuffledOrder, IsAPermutationThatDiffersByEpoch) {
  auto order = shuffled_order(1000, 3, 0);
  EXPECT_EQ(order, shuffled_order(1000, 3, 0));
  EXPECT_NE(order, shuffled_order(1000, 3, 1));
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
  EXPECT_TRUE(shuffled_order(0, 3, 0).empty());
}

}  // namespace
}  // namespace rluf
