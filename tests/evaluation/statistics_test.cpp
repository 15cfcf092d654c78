#include "rluf/pipeline/evaluation/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(Statistics, FisherIntervalOfThePaper) {
  const Interval interval = fisher_interval(0.95, 10);
  EXPECT_NEAR(interval.low, 0.797, 1e-3);
  EXPECT_NEAR(interval.high, 0.988, 1e-3);
  EXPECT_TRUE(std::isnan(fisher_interval(0.5, 3).low));
}

TEST(Statistics, SentenceSaysWhatFewCandidatesCanShow) {
  EXPECT_NE(agreement_sentence(fisher_interval(0.9, 3), 3).find("insufficient n"), std::string::npos);
  EXPECT_NE(agreement_sentence(fisher_interval(0.5, 6), 6).find("insufficient n"), std::string::npos);
  EXPECT_NE(agreement_sentence(fisher_interval(0.95, 10), 10).find("ranking agree"), std::string::npos);
  EXPECT_NE(agreement_sentence(fisher_interval(-0.95, 10), 10).find("disagree"), std::string::npos);
}

TEST(Comparison, HandValues) {
  const auto standings = compare_candidates({{0.1, 0.2, 0.3}, {0.2, 0.3, 0.4}, {0.2, 0.3, 0.4}}, 100, 1);
  EXPECT_NEAR(standings[0].mean.value, 0.2, 1e-15);
  EXPECT_EQ(standings[0].place, 3);
  EXPECT_EQ(standings[1].place, 1);  // equal means: the earlier one first
  EXPECT_EQ(standings[2].place, 2);
  // Every prompt differs by the same amount, so pairing leaves no spread.
  EXPECT_NEAR(standings[0].difference_to_best.low, -0.1, 1e-12);
  EXPECT_NEAR(standings[0].difference_to_best.high, -0.1, 1e-12);
  EXPECT_EQ(standings[0].place_low, 3);
  EXPECT_EQ(standings[1].share_best, 1);
}

TEST(Comparison, PromptsOfOneUserAreDrawnTogether) {
  // Each user's prompts are alike, so four prompts of two users know as much as two.
  const std::vector<std::vector<double>> alike{{0.1, 0.1, 0.5, 0.5}, {0.2, 0.2, 0.2, 0.2}};
  const auto by_user = compare_candidates(alike, 400, 1, std::vector<std::int64_t>{0, 0, 1, 1});
  const auto of_two = compare_candidates({{0.1, 0.5}, {0.2, 0.2}}, 400, 1);
  EXPECT_NEAR(by_user[0].mean.value, 0.3, 1e-15);
  EXPECT_NEAR(by_user[0].mean.low, of_two[0].mean.low, 1e-12);
  EXPECT_NEAR(by_user[0].mean.high, of_two[0].mean.high, 1e-12);
  EXPECT_GT(by_user[0].mean.high - by_user[0].mean.low,
            compare_candidates(alike, 400, 1)[0].mean.high - compare_candidates(alike, 400, 1)[0].mean.low - 1e-12);
}

TEST(Comparison, RatiosOfClusters) {
  const auto standings = compare_ratios_of_clusters({{{1, 2, 3}, {10, 20, 30}}, {{2, 4, 6}, {10, 20, 30}}}, 100, 1);
  EXPECT_NEAR(standings[0].mean.value, 0.1, 1e-15);
  EXPECT_NEAR(standings[0].mean.high, 0.1, 1e-12) << "the same in every cluster";
  EXPECT_EQ(standings[1].place, 1);
  EXPECT_NEAR(standings[0].difference_to_best.low, -0.1, 1e-12);
}

TEST(Statistics, LeaveOneOutFindsWhatCarriesTheCorrelation) {
  const std::vector<double> x{0, 1, 0, 1, 9}, y{0, 1, 1, 0, 9};
  const auto without = leave_one_out(x, y);
  ASSERT_EQ(without.size(), 5u);
  EXPECT_NEAR(without[4], 0, 1e-15);
  EXPECT_GT(without[0], 0.9);
  const auto table = offline_online_agreement(x, y, std::vector<std::string>{"a", "b", "c", "d", "e"});
  EXPECT_EQ(table["leave_one_out"][4]["without"], "e");
  EXPECT_NE(table["leave_one_out_sentence"].get<std::string>().find("between 0.000 (without e)"), std::string::npos)
      << table["leave_one_out_sentence"];
  EXPECT_TRUE(leave_one_out(std::vector<double>{1, 2, 3}, std::vector<double>{1, 2, 3}).empty());
}

TEST(Comparison, OnePromptHasNoInterval) {
  const auto standings = compare_candidates({{0.1}, {0.2}}, 100, 1);
  EXPECT_EQ(standings[1].place, 1);
  EXPECT_TRUE(std::isnan(standings[0].mean.low));
}

// Prompts differ far more than candidates do. The interval of a difference must cover the truth in about 95 % of the
// worlds, and be narrower than that of a mean.
TEST(Comparison, PairedIntervalCoversTheTruth) {
  constexpr int kWorlds = 200, kPrompts = 60;
  constexpr double kTruth = 0.03;
  int covered = 0;
  double paired_width = 0, mean_width = 0;
  for (int world = 0; world < kWorlds; ++world) {
    RandomStream random(8, Purpose::kSimulation, static_cast<std::uint64_t>(world));
    std::vector<double> a, b;
    for (int prompt = 0; prompt < kPrompts; ++prompt) {
      const double common = 0.5 + 0.2 * random.normal();
      a.push_back(common + kTruth + 0.03 * random.normal());
      b.push_back(common + 0.03 * random.normal());
    }
    const auto standings = compare_candidates({a, b}, 200, static_cast<std::uint64_t>(world));
    const Interval& difference = standings[1].difference_to_best;
    covered += difference.low <= -kTruth && -kTruth <= difference.high;
    paired_width += difference.high - difference.low;
    mean_width += standings[0].mean.high - standings[0].mean.low;
  }
  EXPECT_GT(covered, 0.89 * kWorlds);
  EXPECT_LT(covered, 0.99 * kWorlds);
  EXPECT_LT(paired_width, 0.3 * mean_width);
}

}  // namespace
}  // namespace rluf
