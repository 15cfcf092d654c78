#include "rluf/pipeline/alarms/gain_curve.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

double gain_at(double kl, double alpha, double beta, GainForm form) {
  const double d = std::sqrt(kl);
  return d * (alpha - beta * (form == GainForm::kBestOfN ? d : std::log(d)));
}

std::vector<GainPoint> points_of(double alpha, double beta, GainForm form, double noise, std::uint64_t seed,
                                 double largest_kl = 30) {
  RandomStream random(seed, Purpose::kSimulation);
  std::vector<GainPoint> points{{0, 0}, {-0.01, 0.1}};  // no distance, no information
  for (int i = 1; i <= 40; ++i) {
    const double kl = largest_kl * i / 40;
    points.push_back({kl, gain_at(kl, alpha, beta, form) + noise * random.normal()});
  }
  return points;
}

TEST(GainCurve, FindsTheCurveThatMadeThePoints) {
  const GainCurve best = fit_gain_curve(points_of(1.2, 0.2, GainForm::kBestOfN, 0, 1), GainForm::kBestOfN);
  EXPECT_NEAR(best.alpha.value, 1.2, 1e-9);
  EXPECT_NEAR(best.beta.value, 0.2, 1e-9);
  EXPECT_NEAR(best.peak_kl.value, 9, 1e-7);  // (alpha / 2 beta)^2
  EXPECT_NEAR(best.residual, 0, 1e-9);
  const GainCurve rl = fit_gain_curve(points_of(0.9, 0.5, GainForm::kReinforcement, 0, 1), GainForm::kReinforcement);
  EXPECT_NEAR(rl.alpha.value, 0.9, 1e-9);
  EXPECT_NEAR(rl.peak_kl.value, std::exp(2 * (0.9 / 0.5 - 1)), 1e-7);
}

TEST(GainCurve, ThePeakIsTheLargestGain) {
  for (const GainForm form : {GainForm::kBestOfN, GainForm::kReinforcement}) {
    const double peak = fit_gain_curve(points_of(1.0, 0.4, form, 0, 1), form).peak_kl.value;
    for (const double factor : {0.9, 0.99, 1.01, 1.1})
      EXPECT_GT(gain_at(peak, 1.0, 0.4, form), gain_at(factor * peak, 1.0, 0.4, form));
  }
}

TEST(GainCurve, IntervalsHoldTheTruth) {
  for (const auto& [form, peak] : {std::pair{GainForm::kBestOfN, 9.0}, {GainForm::kReinforcement, std::exp(4.0)}}) {
    const double beta = form == GainForm::kBestOfN ? 0.2 : 0.4;
    int alpha_held = 0, peak_held = 0;
    constexpr int kRuns = 1000;
    for (int run = 0; run < kRuns; ++run) {
      const GainCurve curve =
          fit_gain_curve(points_of(1.2, beta, form, 0.1, static_cast<std::uint64_t>(run), 80), form);
      alpha_held += curve.alpha.low <= 1.2 && 1.2 <= curve.alpha.high ? 1 : 0;
      peak_held += curve.peak_kl.low <= peak && peak <= curve.peak_kl.high ? 1 : 0;
    }
    EXPECT_NEAR(alpha_held, 0.95 * kRuns, 30);
    EXPECT_NEAR(peak_held, 0.95 * kRuns, 30);
  }
}

TEST(GainCurve, NoPeakWithoutEvidence) {
  EXPECT_FALSE(std::isfinite(fit_gain_curve({{1, 1}, {2, 2}, {3, 3}}, GainForm::kBestOfN).alpha.value));
  EXPECT_FALSE(std::isfinite(fit_gain_curve(std::vector<GainPoint>(9, {2, 1}), GainForm::kBestOfN).alpha.value));
  // It rises for ever: beta below 0.
  EXPECT_FALSE(std::isfinite(
      fit_gain_curve(points_of(0.1, -0.1, GainForm::kBestOfN, 0.01, 3), GainForm::kBestOfN).peak_kl.value));
  // Noise alone: whatever peak there is has no bounds.
  int bounded = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed)
    bounded +=
        std::isfinite(fit_gain_curve(points_of(0, 0, GainForm::kBestOfN, 1, seed), GainForm::kBestOfN).peak_kl.low) ? 1
                                                                                                                    : 0;
  EXPECT_LE(bounded, 15);
}

TEST(GainCurve, SaysOfEachObjectiveWhereItTurns) {
  Json rounds = Json::array();
  for (int i = 0; i < 30; ++i)
    rounds.push_back({{"kl", i * 0.8},
                      {"gain_love", gain_at(i * 0.8, 0.1, -0.2, GainForm::kBestOfN)},
                      {"gain_witness_love", gain_at(i * 0.8, 1.2, 0.2, GainForm::kBestOfN) + 0.001 * (i % 2)},
                      {"reward", 1.0}});
  const Json curves = gain_curves(rounds);
  ASSERT_EQ(curves.size(), 2U);
  EXPECT_EQ(curves[0].at("objective"), "love");
  EXPECT_EQ(curves[0].at("sentence"), "the fitted gain does not turn down");
  EXPECT_TRUE(curves[0].at("peak_kl").at("value").is_null());
  EXPECT_EQ(curves[1].at("objective"), "witness_love");
  EXPECT_EQ(curves[1].at("form"), "d (alpha - beta d)");
  EXPECT_NEAR(curves[1].at("peak_kl").at("value").get<double>(), 9, 0.1);
  EXPECT_NE(curves[1].at("sentence").get<std::string>().find("and the policy went on to 23.2"), std::string::npos);
  EXPECT_TRUE(gain_curves(Json::array()).empty());
}

}  // namespace
}  // namespace rluf
