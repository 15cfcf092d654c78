#include "rluf/kernels/reductions.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(Moments, OfHandValuesAndLongRows) {
  const std::vector<double> values{1, 2, 4};
  EXPECT_DOUBLE_EQ(moments(values).mean, 7.0 / 3);
  EXPECT_NEAR(moments(values).variance, 7.0 / 3, 1e-12);
  EXPECT_EQ(moments({}).count, 0);
  std::vector<double> many(10001);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<double>(i);
  EXPECT_NEAR(moments(many).mean, 5000, 1e-9);
  EXPECT_NEAR(moments(many).variance, 10001.0 * 10002 / 12, 1e-3);
}

TEST(Pearson, KnownValues) {
  EXPECT_NEAR(pearson(std::vector<double>{1, 2, 3}, std::vector<double>{2, 4, 6}), 1, 1e-12);
  EXPECT_NEAR(pearson(std::vector<double>{1, 2, 3, 4}, std::vector<double>{1, 3, 2, 0}), -0.4, 1e-12);
  EXPECT_TRUE(std::isnan(pearson(std::vector<double>{1, 1}, std::vector<double>{1, 2})));
}

TEST(AverageRanks, TiesShareTheirMean) {
  EXPECT_EQ(average_ranks(std::vector<double>{3, 1, 3, 2}), (std::vector<double>{3.5, 1, 3.5, 2}));
}

TEST(BootstrapMeans, SpreadsLikeTheStandardError) {
  std::vector<double> sums, counts(400, 1.0);
  RandomStream random(1, Purpose::kSimulation);
  for (int i = 0; i < 400; ++i) sums.push_back(random.normal());
  const auto replicates = bootstrap_means(sums, counts, 2000, 5);
  EXPECT_EQ(replicates, bootstrap_means(sums, counts, 2000, 5));
  EXPECT_NEAR(moments(replicates).mean, moments(sums).mean, 0.01);
  EXPECT_NEAR(std::sqrt(moments(replicates).variance), std::sqrt(moments(sums).variance / 400), 0.004);
}

}  // namespace
}  // namespace rluf
