#include "rluf/pipeline/dataset/selection.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace rluf {
namespace {

TEST(SipHash, PublishedVector) {
  // Key 00..0f, message 00..0e. @source SipHash paper, appendix A
  std::string message;
  for (char c = 0; c < 15; ++c) message += c;
  EXPECT_EQ(siphash({0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull}, message), 0xa129ca6149be45e5ull);
}

TEST(SipHash, KeysGiveOtherHashes) {
  EXPECT_NE(siphash(hash_key("a"), "user"), siphash(hash_key("b"), "user"));
  EXPECT_EQ(siphash(hash_key("a"), "user"), siphash(hash_key("a"), "user"));
}

TEST(Holdout, LastPartOfTimeWithoutPartingEqualTimes) {
  EXPECT_EQ(holdout_begin({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.2), 8);
  EXPECT_EQ(holdout_begin({1, 2, 3, 4, 5, 6, 7, 8, 8, 10}, 0.2), 9);
  EXPECT_EQ(holdout_begin({1, 1, 1, 1}, 0.5), 4);
  EXPECT_EQ(holdout_begin({1, 2}, 0.0), 2);
}

std::vector<float> labels_with(std::int64_t positives, std::int64_t rows) {
  std::vector<float> labels(static_cast<std::size_t>(rows), 0.0f);
  for (std::int64_t i = 0; i < positives; ++i) labels[static_cast<std::size_t>(i * rows / positives)] = 1.0f;
  return labels;
}

class BalanceTest : public testing::TestWithParam<std::string> {};

TEST_P(BalanceTest, RaisesTheRateAndKnowsTheCorrection) {
  const std::int64_t rows = 40000, positives = 200;
  const auto labels = labels_with(positives, rows);
  std::vector<std::int64_t> ids(labels.size());
  std::iota(ids.begin(), ids.end(), 1);
  for (const double target : {0.02, 0.1, 0.5}) {
    const Balance balance = balance_labels(labels, ids, target, GetParam(), 7);
    double written = 0, written_positives = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      written += static_cast<double>(balance.copies[i]);
      written_positives += labels[i] > 0 ? static_cast<double>(balance.copies[i]) : 0;
      if (labels[i] > 0) {
        EXPECT_GE(balance.copies[i], 1);
      }
    }
    EXPECT_NEAR(written_positives / written, target, 0.15 * target);
    EXPECT_DOUBLE_EQ(balance.training_rate, written_positives / written);
    const double p = balance.natural_rate, q = balance.training_rate;
    EXPECT_NEAR(balance.prior_correction, std::log(p / (1 - p)) - std::log(q / (1 - q)), 1e-12);
    EXPECT_LT(balance.prior_correction, 0);
  }
}
INSTANTIATE_TEST_SUITE_P(Methods, BalanceTest, testing::Values("negative_keep", "positive_repeat"));

TEST(Balance, ATargetBelowTheNaturalRateChangesNothing) {
  const Balance balance = balance_labels({1, 0, 1, 0}, {1, 2, 3, 4}, 0.1, "negative_keep", 1);
  EXPECT_EQ(balance.copies, (std::vector<std::int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(balance.prior_correction, 0.0);
}

TEST(Balance, PaperCorrection) {
  // ALGORITHM 1.2: from 0.1 % to 10 % the logit is shifted by ln(111) = 4.7095.
  const auto labels = labels_with(100, 100000);
  std::vector<std::int64_t> ids(labels.size());
  std::iota(ids.begin(), ids.end(), 1);
  EXPECT_NEAR(balance_labels(labels, ids, 0.1, "positive_repeat", 1).prior_correction, -4.7095, 1e-3);
}

}  // namespace
}  // namespace rluf
