#include "rluf/pipeline/reward/metrics.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"

namespace rluf {
namespace {

BinaryScores scores_of(const std::vector<double>& logits, const std::vector<double>& labels) {
  std::vector<std::int64_t> clusters(logits.size());
  for (std::size_t i = 0; i < clusters.size(); ++i) clusters[i] = static_cast<std::int64_t>(i);
  return BinaryScores::sorted(logits, labels, clusters);
}

TEST(Metrics, HandValues) {
  const BinaryScores scores = scores_of({3, 1, 2, 0}, {1, 1, 0, 0});
  const std::vector<double> ones(4, 1.0);
  EXPECT_DOUBLE_EQ(auroc(scores, ones), 0.75);  // of four pairs one is wrong
  EXPECT_DOUBLE_EQ(auprc(scores, ones), 0.5 * 1 + 0.5 * 2 / 3);
  EXPECT_DOUBLE_EQ(auroc(scores_of({1, 1}, {0, 1}), {1, 1}), 0.5);
  EXPECT_DOUBLE_EQ(brier(scores_of({0, 0}, {0, 1}), {1, 1}), 0.25);
  EXPECT_DOUBLE_EQ(log_loss(scores_of({0, 0}, {0, 1}), {1, 1}), std::log(2.0));
}

TEST(Metrics, AWeightIsARepetition) {
  const BinaryScores weighted = scores_of({0.3, -1, 2, 0.1, -0.4}, {1, 0, 1, 0, 1});  // sorted: -1 -0.4 0.1 0.3 2
  const std::vector<double> weights{2, 1, 0, 3, 1};
  const BinaryScores repeated = scores_of({-1, -1, -0.4, 0.3, 0.3, 0.3, 2}, {0, 0, 1, 1, 1, 1, 1});
  const std::vector<double> ones(7, 1.0);
  EXPECT_NEAR(auroc(weighted, weights), auroc(repeated, ones), 1e-14);
  EXPECT_NEAR(auprc(weighted, weights), auprc(repeated, ones), 1e-14);
  EXPECT_NEAR(log_loss(weighted, weights), log_loss(repeated, ones), 1e-14);
  EXPECT_NEAR(brier(weighted, weights), brier(repeated, ones), 1e-14);
}

TEST(Metrics, ExtremeLogitsStayFinite) {
  const BinaryScores scores = scores_of({-800, 800}, {0, 1});
  EXPECT_EQ(log_loss(scores, {1, 1}), 0.0);
  EXPECT_EQ(brier(scores, {1, 1}), 0.0);
  EXPECT_EQ(log_loss(scores_of({-800, 800}, {1, 0}), {1, 1}), 800.0);
}

TEST(Metrics, TheCalibrationLineOfLogitsThatHardlyDifferIsSteep) {
  std::vector<double> logits, labels;
  for (int i = 0; i < 100; ++i) {
    logits.push_back(-5 + 1e-4 * (i % 2));
    labels.push_back(i % 2 == 0 ? i % 20 == 0 : i % 20 < 10);  // 10 % and half
  }
  const auto [intercept, slope] = calibration_line(scores_of(logits, labels), std::vector<double>(100, 1.0));
  EXPECT_NEAR(slope * 1e-4, std::log(9.0), 1e-6);
  EXPECT_NEAR(intercept - 5 * slope, std::log(1.0 / 9), 1e-4);
}

TEST(Metrics, UndefinedIsNullWithAReason) {
  const BinaryScores scores = scores_of({1, 2}, {0, 0});
  EXPECT_TRUE(std::isnan(auroc(scores, {1, 1})));
  const auto json = bootstrap_interval(scores.clusters, 2, 30, 1, [&](const auto& weights) {
                      return auroc(scores, weights);
                    }).to_json();
  EXPECT_TRUE(json.at("value").is_null());
  EXPECT_FALSE(json.at("reason").get<std::string>().empty());
}

TEST(Metrics, IntervalIsAPureFunctionOfItsArguments) {
  const BinaryScores scores = scores_of({0.1, 0.5, -1, 2, 0.7, -0.2}, {0, 1, 0, 1, 0, 1});
  const auto interval = [&](std::uint64_t seed) {
    return bootstrap_interval(scores.clusters, 6, 100, seed, [&](const auto& w) { return brier(scores, w); });
  };
  EXPECT_EQ(interval(4).low, interval(4).low);
  EXPECT_NE(interval(4).low, interval(5).low);
}

// Users differ in how often they love, so rows of one user are alike: only resampling whole users covers the truth.
TEST(Metrics, ClusterBootstrapCoversTheTruth) {
  constexpr int kRuns = 150, kUsers = 60, kRows = 8;
  int covered = 0, covered_by_rows = 0;
  for (int run = 0; run < kRuns; ++run) {
    RandomStream random(17, Purpose::kSimulation, static_cast<std::uint64_t>(run));
    std::vector<double> labels;
    std::vector<std::int64_t> users, rows;
    for (int user = 0; user < kUsers; ++user) {
      const double chance = random.uniform();  // the true rate is 0.5
      for (int row = 0; row < kRows; ++row) {
        labels.push_back(random.uniform() < chance ? 1 : 0);
        users.push_back(user);
        rows.push_back(static_cast<std::int64_t>(rows.size()));
      }
    }
    const auto rate = [&](const std::vector<double>& weights) {
      double sum = 0, all = 0;
      for (std::size_t i = 0; i < labels.size(); ++i) {
        sum += weights[i] * labels[i];
        all += weights[i];
      }
      return sum / all;
    };
    const Interval by_users = bootstrap_interval(users, kUsers, 200, static_cast<std::uint64_t>(run), rate);
    const Interval by_rows = bootstrap_interval(rows, kUsers * kRows, 200, static_cast<std::uint64_t>(run), rate);
    covered += by_users.low <= 0.5 && 0.5 <= by_users.high;
    covered_by_rows += by_rows.low <= 0.5 && 0.5 <= by_rows.high;
  }
  EXPECT_GT(covered, 0.89 * kRuns);
  EXPECT_LT(covered_by_rows, 0.85 * kRuns);
}

TEST(Calibration, PriorCorrectionUndoesTheRaisedRate) {
  // Trained at 10 % on data of 0.1 %: a raw logit of the training prior is the natural rate.
  const double correction = std::log(0.001 / 0.999) - std::log(0.1 / 0.9);
  const Calibration calibration{.objective = "love", .kind = "binary", .prior_correction = correction};
  EXPECT_NEAR(correction, -4.7095, 1e-4);
  EXPECT_NEAR(calibrated_probability(std::log(0.1 / 0.9), calibration), 0.001, 1e-15);
}

}  // namespace
}  // namespace rluf
