#include "rluf/pipeline/dataset/selection.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rluf/parallel/process_grid.hpp"

namespace rluf {
namespace {

TEST(Holdout, LastPartOfTimeWithoutPartingEqualTimes) {
  const Communicator world = Communicator::world();
  const auto begin_of = [&](const std::vector<std::int64_t>& times, double share) {
    const Range part = shard_range(static_cast<std::int64_t>(times.size()), world.size(), world.rank());
    const auto time_of = [&](std::int64_t i) { return times[static_cast<std::size_t>(part.first + i)]; };
    return holdout_begin(part.count(), time_of, share, world);
  };
  EXPECT_EQ(begin_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0.2), 8);
  EXPECT_EQ(begin_of({1, 2, 3, 4, 5, 6, 7, 8, 8, 10}, 0.2), 9);
  EXPECT_EQ(begin_of({1, 1, 1, 1}, 0.5), 4);
  EXPECT_EQ(begin_of({1, 2}, 0.0), 2);
}

std::vector<float> labels_with(std::int64_t positives, std::int64_t rows) {
  std::vector<float> labels(static_cast<std::size_t>(rows), 0.0f);
  for (std::int64_t i = 0; i < positives; ++i) labels[static_cast<std::size_t>(i * rows / positives)] = 1.0f;
  return labels;
}

LabelCounts counts_of(const std::vector<float>& labels) {
  const auto positives = static_cast<std::int64_t>(std::count(labels.begin(), labels.end(), 1.0f));
  return {positives, static_cast<std::int64_t>(labels.size()) - positives, 0};
}

std::vector<std::int64_t> balanced_copies(const std::vector<float>& labels, const std::vector<std::int64_t>& ids,
                                          const LabelCounts& counts, double positive_rate, const std::string& method,
                                          std::uint64_t seed) {
  Balancer balancer(counts, positive_rate, method, seed);
  std::vector<std::int64_t> copies;
  for (std::size_t i = 0; i < labels.size(); ++i) copies.push_back(balancer.copies(labels[i] > 0, ids[i]));
  return copies;
}

Balance balance_of_copies(const std::vector<float>& labels, const std::vector<std::int64_t>& copies) {
  std::int64_t rows = 0, positives = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    rows += copies[i];
    positives += labels[i] > 0 ? copies[i] : 0;
  }
  return balance_of(counts_of(labels), positives, rows);
}

class BalanceTest : public testing::TestWithParam<std::string> {};

TEST_P(BalanceTest, RaisesTheRateAndKnowsTheCorrection) {
  const std::int64_t rows = 40000, positives = 200;
  const auto labels = labels_with(positives, rows);
  std::vector<std::int64_t> ids(labels.size());
  std::iota(ids.begin(), ids.end(), 1);
  for (const double target : {0.02, 0.1, 0.5}) {
    const auto copies = balanced_copies(labels, ids, counts_of(labels), target, GetParam(), 7);
    const Balance balance = balance_of_copies(labels, copies);
    double written = 0, written_positives = 0;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      written += static_cast<double>(copies[i]);
      written_positives += labels[i] > 0 ? static_cast<double>(copies[i]) : 0;
      if (labels[i] > 0) {
        EXPECT_GE(copies[i], 1);
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
  const std::vector<float> labels{1, 0, 1, 0};
  const auto copies = balanced_copies(labels, {1, 2, 3, 4}, counts_of(labels), 0.1, "negative_keep", 1);
  EXPECT_EQ(copies, (std::vector<std::int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(balance_of_copies(labels, copies).prior_correction, 0.0);
}

TEST(Balance, APartOfTheRowsGetsTheSameCopies) {
  const auto labels = labels_with(37, 1000);
  std::vector<std::int64_t> ids(labels.size());
  std::iota(ids.begin(), ids.end(), 1);
  for (const std::string method : {"negative_keep", "positive_repeat"}) {
    const auto whole = balanced_copies(labels, ids, counts_of(labels), 0.3, method, 3);
    const std::ptrdiff_t cut = 333;
    LabelCounts counts = counts_of(labels);
    counts.positives_before = std::count(labels.begin(), labels.begin() + cut, 1.0f);
    const auto part =
        balanced_copies({labels.begin() + cut, labels.end()}, {ids.begin() + cut, ids.end()}, counts, 0.3, method, 3);
    EXPECT_EQ(part, (std::vector<std::int64_t>{whole.begin() + cut, whole.end()})) << method;
  }
}

TEST(Balance, PaperCorrection) {
  // ALGORITHM 1.2: from 0.1 % to 10 % the logit is shifted by ln(111) = 4.7095.
  const auto labels = labels_with(100, 100000);
  std::vector<std::int64_t> ids(labels.size());
  std::iota(ids.begin(), ids.end(), 1);
  const auto copies = balanced_copies(labels, ids, counts_of(labels), 0.1, "positive_repeat", 1);
  EXPECT_NEAR(balance_of_copies(labels, copies).prior_correction, -4.7095, 1e-3);
}

}  // namespace
}  // namespace rluf
