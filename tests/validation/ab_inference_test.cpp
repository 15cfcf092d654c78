#include "rluf/pipeline/validation/ab_inference.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

/// Users whose rate in the test is close to the one before it; `lift` acts in the test only.
ArmSums arm_of(std::uint64_t seed, std::uint64_t arm, int users, double lift) {
  RandomStream random(seed, Purpose::kSimulation, arm);
  ArmSums sums;
  for (int u = 0; u < users; ++u) {
    const double rate = 0.3 * random.uniform() * random.uniform();
    const auto draw = [&](double chance, std::vector<double>& events, std::vector<double>& responses) {
      const std::uint64_t count = 1 + random.below(20);
      double found = 0;
      for (std::uint64_t i = 0; i < count; ++i) found += random.uniform() < chance ? 1 : 0;
      events.push_back(found);
      responses.push_back(static_cast<double>(count));
    };
    draw(rate * (1 + lift), sums.numerators, sums.denominators);
    draw(rate, sums.numerators_before, sums.denominators_before);
  }
  return sums;
}

/// Largest count that a rate of `chance` in `runs` runs would reach by chance, three standard deviations up.
double at_most(double chance, int runs) { return runs * chance + 3 * std::sqrt(runs * chance * (1 - chance)); }

TEST(AbInference, TestsOfEqualArmsAreWrongAsOftenAsTheySay) {
  constexpr int kRuns = 10000;
  int plain = 0, adjusted = 0, fieller = 0, harmed = 0;
  double variance_ratio = 0;
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    const ArmSums a = arm_of(run, 1, 100, 0), b = arm_of(run, 2, 100, 0);
    const Ratio ratio_a = ratio_of_sums(a.numerators, a.denominators),
                ratio_b = ratio_of_sums(b.numerators, b.denominators);
    const RatioComparison comparison = compare_ratios(ratio_a, ratio_b);
    plain += comparison.p < 0.05 ? 1 : 0;
    const AdjustedDifference cuped = cuped_difference(a, b);
    adjusted += cuped.p < 0.05 ? 1 : 0;
    variance_ratio += cuped.variance_ratio / kRuns;
    const Interval lift = fieller_lift(ratio_a, ratio_b);
    fieller += lift.low <= 0 && 0 <= lift.high ? 0 : 1;
    // A true rise of exactly the margin passes for harmless at most as often as alpha says.
    harmed += non_inferiority_p(ratio_a.value - ratio_b.value + 0.02, ratio_a.variance + ratio_b.variance, 0.02) < 0.05;
  }
  std::printf(
      "A/A, %d runs at 5 %%: delta method %.2f %%, CUPED %.2f %%, Fieller %.2f %%, non-inferiority %.2f %%; CUPED's "
      "variance %.2f\n",
      kRuns, 100.0 * plain / kRuns, 100.0 * adjusted / kRuns, 100.0 * fieller / kRuns, 100.0 * harmed / kRuns,
      variance_ratio);
  // 200 users are few for the normal approximation: a percent more than chance.
  for (const int count : {plain, adjusted, fieller, harmed}) {
    EXPECT_LE(count, at_most(0.06, kRuns));
    EXPECT_GE(count, kRuns * 0.035);
  }
  EXPECT_LT(variance_ratio, 0.9) << "the pre-period explains some of the users' differences";
}

TEST(AbInference, LooksAtAnyTimeAreWrongAtMostAsOftenAsTheySay) {
  constexpr int kRuns = 400, kUsers = 1500, kFirst = 50;
  int fixed = 0, sequence = 0, mixture = 0;
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    RandomStream random(run, Purpose::kSimulation);
    double sum = 0, squares = 0;
    bool out_fixed = false, out_sequence = false, out_mixture = false;
    for (int n = 1; n <= kUsers; ++n) {  // the difference of two equal users, n times
      const double x = (random.uniform() < 0.1 ? 1.0 : 0.0) - (random.uniform() < 0.1 ? 1.0 : 0.0);
      sum += x;
      squares += x * x;
      if (n < kFirst || squares == 0) continue;
      const double mean = sum / n, variance = (squares / n - mean * mean) / n;
      const Interval now = confidence_sequence(mean, variance, n, 500);
      out_sequence = out_sequence || now.low > 0 || now.high < 0;
      out_mixture = out_mixture || always_valid_p(mean, variance, 0.03) < 0.05;
      out_fixed = out_fixed || std::abs(mean) > 1.96 * std::sqrt(variance);
    }
    fixed += out_fixed ? 1 : 0;
    sequence += out_sequence ? 1 : 0;
    mixture += out_mixture ? 1 : 0;
  }
  std::printf(
      "A/A with a look at every user from %d to %d, %d runs at 5 %%: interval %.1f %%, mixture p %.1f %%, usual "
      "interval %.1f %%\n",
      kFirst, kUsers, kRuns, 100.0 * sequence / kRuns, 100.0 * mixture / kRuns, 100.0 * fixed / kRuns);
  EXPECT_LE(sequence, at_most(0.05, kRuns));
  EXPECT_LE(mixture, at_most(0.05, kRuns));
  EXPECT_GT(fixed, 0.2 * kRuns) << "that is what looking costs";
}

TEST(AbInference, SeesWhatIsThere) {
  int plain = 0, adjusted = 0;
  for (std::uint64_t run = 0; run < 200; ++run) {
    const ArmSums a = arm_of(run, 1, 600, 0.2), b = arm_of(run, 2, 600, 0);
    plain +=
        compare_ratios(ratio_of_sums(a.numerators, a.denominators), ratio_of_sums(b.numerators, b.denominators)).p <
        0.05;
    adjusted += cuped_difference(a, b).p < 0.05;
  }
  EXPECT_GT(adjusted, plain) << "less noise, more power";
  EXPECT_GT(adjusted, 100);
}

TEST(AbInference, FiellerHasNoIntervalForABaseThatMayBeZero) {
  const Ratio treatment{.value = 0.02, .variance = 1e-5, .num_users = 100, .denominator = 1000};
  const Ratio noisy{.value = 0.01, .variance = 1e-4, .num_users = 100, .denominator = 1000};
  EXPECT_TRUE(std::isnan(fieller_lift(treatment, noisy).low));
  const Ratio known{.value = 0.01, .variance = 1e-12, .num_users = 100, .denominator = 1000};
  const Interval lift = fieller_lift(treatment, known), delta = compare_ratios(treatment, known).lift;
  EXPECT_NEAR(lift.low, delta.low, 1e-3) << "with a known base both agree";
  EXPECT_NEAR(lift.high, delta.high, 1e-3);
}

TEST(AbInference, AdjustsPValues) {
  using testing::DoubleNear;
  using testing::ElementsAre;
  const std::vector<double> p{0.04, 0.01, 0.03, 0.005};
  EXPECT_THAT(holm_adjusted(p), ElementsAre(DoubleNear(0.06, 1e-12), DoubleNear(0.03, 1e-12), DoubleNear(0.06, 1e-12),
                                            DoubleNear(0.02, 1e-12)));
  EXPECT_THAT(benjamini_hochberg_adjusted(p), ElementsAre(DoubleNear(0.04, 1e-12), DoubleNear(0.02, 1e-12),
                                                          DoubleNear(0.04, 1e-12), DoubleNear(0.02, 1e-12)));
  EXPECT_TRUE(holm_adjusted({}).empty());
  EXPECT_TRUE(benjamini_hochberg_adjusted({}).empty());
}

}  // namespace
}  // namespace rluf
