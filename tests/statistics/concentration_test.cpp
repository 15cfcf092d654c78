#include "rluf/statistics/concentration.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(Gini, HandValues) {
  EXPECT_NEAR(gini({{3, 10}}), 0, 1e-15);
  EXPECT_NEAR(gini({{0, 9}, {5, 1}}), 0.9, 1e-15);
  EXPECT_NEAR(gini({{1, 1}, {2, 1}, {3, 1}}), 2.0 / 9, 1e-15);  // mean difference 8 / 9, mean 2
  EXPECT_TRUE(std::isnan(gini({{0, 5}})));
}

TEST(TopShare, TakesTheUsersWhoGiveMost) {
  EXPECT_NEAR(top_share({{0, 197}, {1, 2}, {8, 1}}, 0.01), 0.9, 1e-15);  // two users: 8 and 1 of 10
  EXPECT_NEAR(top_share({{2, 3}}, 0.01), 1.0 / 3, 1e-15);
  EXPECT_TRUE(std::isnan(top_share({{0, 5}}, 0.01)));
}

TEST(Drift, NothingToSayWithoutSpread) {
  EXPECT_EQ(drift_of(std::vector<std::int64_t>{0, 0}, std::vector<std::int64_t>{10, 10}, 1).relative, 0);
  EXPECT_EQ(drift_of(std::vector<std::int64_t>{5, 0}, std::vector<std::int64_t>{10, 0}, 1).degrees_of_freedom, 0);
}

TEST(Drift, TellsAChangeFromChance) {
  RandomStream random(1, Purpose::kSimulation);
  std::vector<std::int64_t> steady(10), moving(10), responses(10, 5000);
  for (std::size_t t = 0; t < 10; ++t)
    for (int i = 0; i < 5000; ++i) {
      steady[t] += random.uniform() < 0.02;
      moving[t] += random.uniform() < 0.02 * (t < 5 ? 0.5 : 1.5);
    }
  EXPECT_LT(drift_of(steady, responses, 1).relative, 0.15);
  EXPECT_GT(drift_of(steady, responses, 1).p, 0.001);
  EXPECT_NEAR(drift_of(moving, responses, 1).relative, 0.5, 0.15);
  EXPECT_LT(drift_of(moving, responses, 1).p, 1e-6);
  EXPECT_LT(drift_of(moving, responses, 400).relative, 0.3) << "what users explain is no drift";
}

}  // namespace
}  // namespace rluf
