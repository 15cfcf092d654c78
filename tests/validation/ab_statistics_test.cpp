#include "rluf/pipeline/validation/ab_statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(Ratio, HandValues) {
  // R = 3 / 6; N - R D = 0, -1, 1; their variance 1, mean D = 2, n = 3.
  const Ratio ratio = ratio_of_sums(std::vector<double>{1, 0, 2}, std::vector<double>{2, 2, 2});
  EXPECT_DOUBLE_EQ(ratio.value, 0.5);
  EXPECT_DOUBLE_EQ(ratio.variance, 1.0 / 12);
  EXPECT_EQ(ratio.num_users, 3);
  EXPECT_DOUBLE_EQ(ratio.denominator, 6);
}

TEST(Ratio, OneResponseAUserIsAPlainMean) {
  std::vector<double> hearts(100, 0.0), ones(100, 1.0);
  for (std::size_t i = 0; i < 20; ++i) hearts[i] = 1;
  const Ratio ratio = ratio_of_sums(hearts, ones);
  EXPECT_NEAR(ratio.variance, 0.2 * 0.8 / 99, 1e-12);
  EXPECT_NEAR(design_effect(ratio), 100.0 / 99, 1e-12);
}

TEST(Ratio, UndefinedWhereThereIsNothingToEstimate) {
  EXPECT_TRUE(std::isnan(ratio_of_sums({}, {}).value));
  EXPECT_TRUE(std::isnan(ratio_of_sums(std::vector<double>{0, 0}, std::vector<double>{0, 0}).value));
  const Ratio one_user = ratio_of_sums(std::vector<double>{1}, std::vector<double>{4});
  EXPECT_DOUBLE_EQ(one_user.value, 0.25);
  EXPECT_TRUE(std::isnan(one_user.variance));
  const Ratio none = ratio_of_sums(std::vector<double>{0, 0, 0}, std::vector<double>{4, 2, 2});
  EXPECT_EQ(none.variance, 0);
  EXPECT_TRUE(std::isnan(design_effect(none)));
  EXPECT_TRUE(std::isnan(compare_ratios(none, none).lift.value));
  EXPECT_TRUE(std::isnan(compare_ratios(none, none).p));
  // Not one heart in one arm: the change has a value, but no interval.
  const Ratio some = ratio_of_sums(std::vector<double>{1, 0, 1}, std::vector<double>{4, 2, 2});
  EXPECT_EQ(compare_ratios(none, some).lift.value, -1);
  EXPECT_TRUE(std::isnan(compare_ratios(none, some).lift.low));
  EXPECT_TRUE(std::isnan(compare_ratios(none, some).difference.high));
}

TEST(RateInterval, StaysWithinItsBounds) {
  // Not one event in n: Wilson's upper bound is z^2 / (n + z^2), n shrunk by the design effect of the other arms.
  const Ratio none = ratio_of_sums(std::vector<double>(50, 0.0), std::vector<double>(50, 4.0));
  const double z2 = 1.959963984540054 * 1.959963984540054;
  EXPECT_NEAR(rate_interval(none, 2).low, 0, 1e-12);
  EXPECT_GE(rate_interval(none, 2).low, 0);
  EXPECT_NEAR(rate_interval(none, 2).high, z2 / (100 + z2), 1e-12);
  EXPECT_NEAR(rate_interval(none, std::nan("")).high, z2 / (200 + z2), 1e-12);
  // With many events it is the delta method's.
  std::vector<double> hearts, responses;
  for (int user = 0; user < 20000; ++user) {
    hearts.push_back(user % 3 == 0 ? 2 : 0);
    responses.push_back(4);
  }
  const Ratio rate = ratio_of_sums(hearts, responses);
  const Interval delta = normal_interval(rate.value, rate.variance), wilson = rate_interval(rate, 1);
  EXPECT_NEAR(wilson.low, delta.low, 2e-4 * rate.value);
  EXPECT_NEAR(wilson.high, delta.high, 2e-4 * rate.value);
}

TEST(Ratio, ScaleOfTheNumeratorLeavesTheLift) {
  const std::vector<double> d{2, 5, 3, 4}, a{1, 0, 2, 1}, b{0, 1, 1, 1};
  std::vector<double> a10, b10;
  for (const double x : a) a10.push_back(10 * x);
  for (const double x : b) b10.push_back(10 * x);
  const auto lift = compare_ratios(ratio_of_sums(a, d), ratio_of_sums(b, d)).lift;
  const auto lift10 = compare_ratios(ratio_of_sums(a10, d), ratio_of_sums(b10, d)).lift;
  EXPECT_NEAR(lift.value, lift10.value, 1e-12);
  EXPECT_NEAR(lift.low, lift10.low, 1e-12);
}

// Users differ in taste and activity. The intervals must cover the truth in about 95 % of the worlds; those that take
// responses for independent do not.
TEST(Ratio, IntervalsCoverTheTruth) {
  constexpr int kWorlds = 400, kUsers = 400;
  constexpr double kLift = 0.5;
  int rate_covered = 0, lift_covered = 0, naive_covered = 0;
  const auto draw_arm = [](RandomStream& random, double scale) {
    std::vector<double> hearts, responses;
    for (int user = 0; user < kUsers; ++user) {
      const double count = 1 + std::floor(20 * std::pow(random.uniform(), 4));
      const double chance = (random.uniform() < 0.2 ? 0.3 : 0.025) * scale;  // mean 0.08
      double sum = 0;
      for (int k = 0; k < static_cast<int>(count); ++k) sum += random.uniform() < chance ? 1 : 0;
      hearts.push_back(sum);
      responses.push_back(count);
    }
    return ratio_of_sums(hearts, responses);
  };
  for (int world = 0; world < kWorlds; ++world) {
    RandomStream random(4, Purpose::kSimulation, static_cast<std::uint64_t>(world));
    const Ratio control = draw_arm(random, 1), treatment = draw_arm(random, 1 + kLift);
    const Interval rate = normal_interval(control.value, control.variance);
    rate_covered += rate.low <= 0.08 && 0.08 <= rate.high;
    const Interval naive = normal_interval(control.value, control.variance / design_effect(control));
    naive_covered += naive.low <= 0.08 && 0.08 <= naive.high;
    const Interval lift = compare_ratios(treatment, control).lift;
    lift_covered += lift.low <= kLift && kLift <= lift.high;
  }
  EXPECT_GT(rate_covered, 0.91 * kWorlds);
  EXPECT_LT(rate_covered, 0.985 * kWorlds);
  EXPECT_GT(lift_covered, 0.91 * kWorlds);
  EXPECT_LT(lift_covered, 0.985 * kWorlds);
  EXPECT_LT(naive_covered, 0.9 * kWorlds);
}

TEST(EqualShares, HandValues) {
  const ChiSquare even = equal_shares_test(std::vector<std::int64_t>{50, 50});
  EXPECT_EQ(even.statistic, 0);
  EXPECT_EQ(even.p, 1);
  const ChiSquare uneven = equal_shares_test(std::vector<std::int64_t>{60, 40});
  EXPECT_DOUBLE_EQ(uneven.statistic, 4);
  EXPECT_NEAR(uneven.p, std::erfc(std::sqrt(2.0)), 1e-12);  // one degree of freedom: |z| >= 2
  EXPECT_EQ(equal_shares_test(std::vector<std::int64_t>{0, 0, 0}).p, 1);
  EXPECT_LT(equal_shares_test(std::vector<std::int64_t>{5000, 4500, 4500, 4500}).p, 1e-6);
}

}  // namespace
}  // namespace rluf
