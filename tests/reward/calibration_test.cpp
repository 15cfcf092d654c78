#include "rluf/pipeline/reward/calibration.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/reward/losses.hpp"

namespace rluf {
namespace {

/// Rows at a raised rate whose true log-odds there are scale * (x + prior) + shift - prior.
struct Window {
  std::vector<double> raw, labels;
};
Window drawn_window(int num_rows, const Calibration& truth) {
  Window window;
  RandomStream random(11, Purpose::kSimulation);
  for (int row = 0; row < num_rows; ++row) {
    const double raw = -1.5 + 1.5 * random.normal();
    const double logit = truth.scale * (raw + truth.prior_correction) + truth.shift - truth.prior_correction;
    window.raw.push_back(raw);
    window.labels.push_back(random.uniform() < 1 / (1 + std::exp(-logit)) ? 1 : 0);
  }
  return window;
}

TEST(Calibration, TemperatureAndPlattFindWhatTheRowsWereDrawnFrom) {
  const Calibration truth{.prior_correction = -4, .scale = 0.6, .shift = 0};
  const Window window = drawn_window(60000, truth);
  Calibration temperature{.prior_correction = -4}, platt{.prior_correction = -4};
  ASSERT_TRUE(fit_temperature(window.raw, window.labels, temperature));
  EXPECT_NEAR(temperature.scale, 0.6, 0.02);
  EXPECT_EQ(temperature.shift, 0);
  ASSERT_TRUE(fit_platt(window.raw, window.labels, platt));
  EXPECT_NEAR(platt.scale, 0.6, 0.03);
  EXPECT_NEAR(platt.shift, 0, 0.12);
}

TEST(Calibration, IsotonicGivesRatesOfTheNaturalPrior) {
  // Two levels: of low scores 10 % are positive in the window, of high ones 50 %. At odds e^-3 times as high they are
  // odds 1/9 e^-3 and e^-3. A step back among the low ones is pooled.
  Window window;
  for (int i = 0; i < 20; ++i) {
    window.raw.push_back(i < 10 ? -2.0 : -1.0);
    window.labels.push_back(i == 0 || i == 19 ? 1 : 0);
  }
  for (int i = 0; i < 10; ++i) {
    window.raw.push_back(2);
    window.labels.push_back(i % 2);
  }
  Calibration calibration{.prior_correction = -3};
  ASSERT_TRUE(fit_isotonic(window.raw, window.labels, calibration));
  const auto probability = [](double odds) { return odds / (1 + odds); };
  EXPECT_NEAR(calibrated_probability(-2, calibration), probability(std::exp(-3.0) / 9), 1e-12);
  EXPECT_NEAR(calibrated_probability(-1, calibration), probability(std::exp(-3.0) / 9), 1e-12);
  EXPECT_NEAR(calibrated_probability(2, calibration), probability(std::exp(-3.0)), 1e-12);
  const double low = calibrated_probability(-1, calibration), high = calibrated_probability(2, calibration);
  EXPECT_NEAR(calibrated_probability(0.5, calibration), (low + high) / 2, 1e-12);  // halfway between knots
  EXPECT_EQ(calibrated_probability(100, calibration), high);
  EXPECT_EQ(calibrated_probability(-100, calibration), calibrated_probability(-2, calibration));
  EXPECT_NEAR(1 / (1 + std::exp(-calibrated_logit(0.5, calibration))), (low + high) / 2, 1e-12);
}

TEST(Calibration, IsotonicProbabilitiesAreNeverZeroOrOne) {
  Calibration calibration;
  ASSERT_TRUE(fit_isotonic({-1, -1, 1, 1}, {0, 0, 1, 1}, calibration));
  EXPECT_NEAR(calibrated_probability(-1, calibration), 0.125, 1e-12);  // half a row of four
  EXPECT_NEAR(calibrated_probability(1, calibration), 0.875, 1e-12);
}

TEST(Calibration, NothingIsFittedWithoutARise) {
  const std::vector<double> raw{1, 2, 3, 4}, falling{1, 1, 0, 0}, all{1, 1, 1, 1};
  for (const auto fit : {fit_temperature, fit_platt, fit_isotonic}) {
    Calibration calibration;
    EXPECT_FALSE(fit(raw, falling, calibration));
    EXPECT_FALSE(fit(raw, all, calibration));
    EXPECT_EQ(calibration.scale, 1);
    EXPECT_TRUE(calibration.logits.empty());
  }
}

TEST(Calibration, WithoutItsLengthAScoreHasNoSlope) {
  std::vector<double> scores, tokens, left, lengths;
  RandomStream random(4, Purpose::kSimulation);
  for (int i = 0; i < 500; ++i) {
    tokens.push_back(1 + std::floor(300 * random.uniform()));
    lengths.push_back(std::log(tokens.back()));
    scores.push_back(0.8 * lengths.back() + random.normal());
  }
  Calibration calibration;
  std::tie(calibration.length_slope, calibration.length_center) = length_line(scores, tokens);
  EXPECT_NEAR(calibration.length_slope, 0.8, 0.15);
  for (std::size_t i = 0; i < scores.size(); ++i) left.push_back(without_length(scores[i], tokens[i], calibration));
  EXPECT_NEAR(pearson(left, lengths), 0, 1e-12);
  EXPECT_NEAR(moments(left).mean, moments(scores).mean, 1e-12);
  EXPECT_EQ(length_line({1, 2, 3}, {7, 7, 7}).first, 0);
  EXPECT_EQ(without_length(1.25, 9, {}), 1.25);
}

TEST(Heads, TheLowerBoundIsBelowTheMeanByTheirSpread) {
  const std::vector<double> heads{1, 2, 6};
  Calibration calibration;
  EXPECT_DOUBLE_EQ(combined_heads(heads.data(), 3, calibration), 3);
  calibration.heads = "lower";
  calibration.lower_deviations = 2;
  EXPECT_DOUBLE_EQ(disagreement(heads.data(), 3), std::sqrt(7.0));
  EXPECT_DOUBLE_EQ(combined_heads(heads.data(), 3, calibration), 3 - 2 * std::sqrt(7.0));
  EXPECT_EQ(combined_heads(heads.data(), 1, calibration), 1);
  EXPECT_EQ(disagreement(heads.data(), 1), 0);
}

TEST(Heads, CopiesArePoissonAndOfEachHeadAlone) {
  double sum = 0, squares = 0, together = 0;
  constexpr int kExamples = 40000;
  for (int i = 0; i < kExamples; ++i) {
    const double a = head_copies(3, i, 0), b = head_copies(3, i, 1);
    EXPECT_EQ(a, head_copies(3, i, 0));
    sum += a;
    squares += a * a;
    together += a * b;
  }
  EXPECT_NEAR(sum / kExamples, 1, 0.03);
  EXPECT_NEAR(squares / kExamples, 2, 0.08);   // variance 1
  EXPECT_NEAR(together / kExamples, 1, 0.04);  // not correlated
}

}  // namespace
}  // namespace rluf
