#include "rluf/statistics/count_moments.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(CountMoments, RateOfIndependentResponsesHasTheBinomialVariance) {
  CountMoments moments(2);
  for (int user = 0; user < 100; ++user) moments.add(std::array<std::int64_t, 2>{user < 20, 1});
  const Ratio rate = rate_of(moments, 0, 1);
  EXPECT_DOUBLE_EQ(rate.value, 0.2);
  EXPECT_NEAR(rate.variance, 0.2 * 0.8 / 99, 1e-15);
  EXPECT_NEAR(design_effect(rate), 100.0 / 99, 1e-12);
}

TEST(CountMoments, UsersWhoAlwaysDoTheSameCountOnce) {
  CountMoments moments(2);
  for (int user = 0; user < 100; ++user) moments.add(std::array<std::int64_t, 2>{user < 20 ? 7 : 0, 7});
  EXPECT_NEAR(rate_of(moments, 0, 1).variance, 0.2 * 0.8 / 99, 1e-15);
}

TEST(CountMoments, PartsAddUpInAnyOrder) {
  CountMoments whole(4), a(4), b(4);
  RandomStream random(1, Purpose::kSimulation);
  for (int user = 0; user < 50; ++user) {
    std::array<std::int64_t, 4> counts{};
    for (auto& count : counts) count = static_cast<std::int64_t>(random.below(5));
    whole.add(counts);
    (user % 3 == 0 ? a : b).add(counts);
  }
  for (std::size_t i = 0; i < whole.values().size(); ++i) EXPECT_EQ(a.values()[i] + b.values()[i], whole.values()[i]);
}

TEST(Contrast, HandValues) {
  CountMoments moments(4);
  // 40 with it, 10 of them with the outcome; 60 without, 6 of them: every response is a user's only one.
  for (int i = 0; i < 100; ++i)
    moments.add(std::array<std::int64_t, 4>{i < 10, i >= 10 && i < 40, i >= 40 && i < 46, i >= 46});
  const Contrast contrast = contrast_of(moments, 0.95);
  EXPECT_EQ(contrast.both, 10);
  EXPECT_NEAR(contrast.with.value, 0.25, 1e-15);
  EXPECT_NEAR(contrast.without.value, 0.1, 1e-15);
  EXPECT_NEAR(contrast.difference.value, 0.15, 1e-15);
  const double variance = (0.25 * 0.75 / 40 + 0.1 * 0.9 / 60) * 100 / 99;
  EXPECT_NEAR(contrast.difference.high - contrast.difference.low, 2 * 1.959964 * std::sqrt(variance), 1e-6);
  const double log_variance = (0.75 / 10 + 0.9 / 6) * 100 / 99;
  EXPECT_NEAR(std::log(contrast.ratio.high / contrast.ratio.low), 2 * 1.959964 * std::sqrt(log_variance), 1e-6);
  EXPECT_NEAR(contrast.phi, (10.0 * 54 - 30.0 * 6) / std::sqrt(40.0 * 60 * 16 * 84), 1e-15);
}

TEST(Contrast, UndefinedWhereNothingCanBeCompared) {
  CountMoments moments(4);
  moments.add(std::array<std::int64_t, 4>{1, 2, 0, 0});
  moments.add(std::array<std::int64_t, 4>{0, 3, 0, 0});
  const Contrast contrast = contrast_of(moments, 0.95);
  EXPECT_TRUE(std::isnan(contrast.difference.value));
  EXPECT_TRUE(std::isnan(contrast.ratio.value));
  EXPECT_TRUE(std::isnan(contrast.phi));
  EXPECT_NEAR(contrast.with.value, 1.0 / 6, 1e-15);
}

TEST(Contrast, IntervalsCoverUnderClustering) {
  // Users with a trait of their own; both outcome and signal depend on it, so that only the clustered interval covers.
  int covered = 0;
  constexpr int kWorlds = 400;
  for (int world = 0; world < kWorlds; ++world) {
    RandomStream random(7, Purpose::kSimulation, static_cast<std::uint64_t>(world));
    CountMoments moments(4);
    for (int user = 0; user < 300; ++user) {
      const double rate = random.uniform() < 0.5 ? 0.05 : 0.55;  // of the outcome, whatever the signal
      std::array<std::int64_t, 4> counts{};
      for (int i = 0; i < 6; ++i) ++counts[(random.uniform() < 0.3 ? 0u : 2u) + (random.uniform() < rate ? 0u : 1u)];
      moments.add(counts);
    }
    const Contrast contrast = contrast_of(moments, 0.95);
    covered += contrast.with.low <= 0.3 && 0.3 <= contrast.with.high;
    EXPECT_LT(std::abs(contrast.difference.value), 0.15);
  }
  EXPECT_GT(covered, 0.92 * kWorlds);
  EXPECT_LT(covered, 0.985 * kWorlds);
}

}  // namespace
}  // namespace rluf
