#include "rluf/statistics/off_policy.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "rluf/core/random.hpp"
#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Four users, one response each: weights 2, 0, 1, 1; rewards 1, 1, 0, 1; the model says 0.5 of the arm that served
/// and 0.75 of the policy.
std::vector<LoggedResponse> small_case() {
  std::vector<LoggedResponse> rows;
  const std::array<double, 4> weights{2, 0, 1, 1}, rewards{1, 1, 0, 1};
  for (std::size_t i = 0; i < 4; ++i)
    rows.push_back({.user = static_cast<std::int64_t>(i),
                    .weight = weights[i],
                    .reward = rewards[i],
                    .score = 0.5,
                    .predicted = 0.5,
                    .policy_predicted = 0.75});
  return rows;
}

TEST(OffPolicy, HandValues) {
  const auto rows = small_case();
  EXPECT_DOUBLE_EQ(direct_method(rows, 4).value, 0.75);
  EXPECT_DOUBLE_EQ(direct_method(rows, 4).variance(), 0) << "a model that says the same everywhere";
  EXPECT_DOUBLE_EQ(importance_sampling(rows, 4).value, 3.0 / 4);
  // Terms 2, 0, 0, 1 with mean 3/4: squares 25, 9, 9, 1 of sixteenths.
  EXPECT_DOUBLE_EQ(importance_sampling(rows, 4).variance(), 44.0 / 16 / 3 / 4);
  EXPECT_DOUBLE_EQ(self_normalized(rows, 4).value, 3.0 / 4);
  // Errors w (r - 3/4) / 4: 1/8, -, -3/16, 1/16; three users have weight.
  EXPECT_DOUBLE_EQ(self_normalized(rows, 4).variance(), (4.0 + 9 + 1) / 256 * 3 / 2);
  // 3/4 + (2 * 1/2 + 0 - 1/2 + 1/2) / 4.
  EXPECT_DOUBLE_EQ(doubly_robust(rows, 4).value, 1);
  // Without the response of weight 2: 3/4 + (0 - 1/2 + 1/2) / 4.
  EXPECT_DOUBLE_EQ(switch_doubly_robust(rows, 4, 1.5).value, 0.75);
  auto rare = rows;  // of the arm of weight 2, the policy's share of which is 1/2
  for (LoggedResponse& row : rare) row.rare_predicted = 0.25;
  EXPECT_DOUBLE_EQ(switch_estimator(rare, 4, 1.5).value, (0.0 + 0 + 0 + 1) / 4 + 0.25);
  EXPECT_DOUBLE_EQ(switch_estimator(rows, 4, 2).value, importance_sampling(rows, 4).value) << "nothing is rare";
  EXPECT_DOUBLE_EQ(switch_estimator(rows, 4, 2).variance(), importance_sampling(rows, 4).variance());
  const WeightFacts facts = weight_facts(rows);
  EXPECT_DOUBLE_EQ(facts.effective, 16.0 / 6);
  EXPECT_DOUBLE_EQ(facts.largest_share, 0.5);
  EXPECT_EQ(facts.largest, 2);
  EXPECT_EQ(facts.num_responses, 3);
  EXPECT_EQ(facts.num_events, 2);
}

TEST(OffPolicy, UsersWhoRepeatThemselvesCountOnce) {
  const auto once = small_case();
  std::vector<LoggedResponse> often;
  for (int time = 0; time < 5; ++time) often.insert(often.end(), once.begin(), once.end());
  for (const auto& estimator : {importance_sampling, self_normalized, doubly_robust}) {
    EXPECT_DOUBLE_EQ(estimator(often, 4).value, estimator(once, 4).value);
    EXPECT_NEAR(estimator(often, 4).variance(), estimator(once, 4).variance(), 1e-15);
  }
}

TEST(OffPolicy, DifferenceOfAPolicyToItselfIsKnown) {
  const auto rows = small_case();
  const PolicyEstimate none = difference_of(doubly_robust(rows, 4), doubly_robust(rows, 4));
  EXPECT_EQ(none.value, 0);
  EXPECT_EQ(none.variance(), 0);
}

TEST(OffPolicy, NothingObservedIsNoEstimate) {
  auto rows = small_case();
  for (LoggedResponse& row : rows) row.observed = false;
  for (const auto& estimator : {importance_sampling, self_normalized, doubly_robust}) {
    EXPECT_TRUE(std::isnan(estimator(rows, 4).value));
    EXPECT_TRUE(std::isnan(estimator(rows, 4).variance()));
  }
  EXPECT_EQ(weight_facts(rows).effective, 0);
}

TEST(OffPolicy, PredictionsOfWhatIsNotObserved) {
  // Observed: r 1, 0 with f 0.6, 0.2; not observed: f 0.5, 0.5, 0.8. lambda 1: 0.6 + (0.4 - 0.2) / 2.
  std::vector<LoggedResponse> rows;
  const std::array<double, 5> f{0.6, 0.2, 0.5, 0.5, 0.8};
  for (std::size_t i = 0; i < 5; ++i)
    rows.push_back({.user = static_cast<std::int64_t>(i),
                    .weight = 1,
                    .observed = i < 2,
                    .reward = i == 0 ? 1.0 : 0.0,
                    .score = f[i]});
  EXPECT_NEAR(prediction_powered(rows, 5, 1).estimate.value, 0.7, 1e-15);
  EXPECT_NEAR(prediction_powered(rows, 5, 0).estimate.value, 0.5, 1e-15);
  // cov(r, f) = 0.2, var f = 0.08, var f' = 0.02 with n and N in the denominators (0.1, 0.04, 0.02), n / N = 2/3.
  EXPECT_NEAR(prediction_powered(rows, 5, kNaN).lambda, 1.0, 1e-15) << "0.1 / (0.04 + 2/3 * 0.02) = 1.875, cut to 1";
  for (std::size_t i = 0; i < 2; ++i) rows[i].score *= 4;
  EXPECT_NEAR(prediction_powered(rows, 5, kNaN).lambda, 0.4 / (0.64 + 2.0 / 3 * 0.02), 1e-12);
}

/// A world with users of very different taste who get arm 1 with a chance that depends on x; the policy takes arm 1
/// where x = 1 and either arm else. The model of the rewards is wrong.
struct World {
  static constexpr std::int64_t kUsers = 300;
  std::vector<LoggedResponse> rows;
  static double chance(int x, int arm) { return 0.1 + 0.2 * x + 0.15 * arm; }
  static double policy(int x, int arm) { return x == 1 ? arm : 0.5; }
  static double propensity(int x, int arm) { return arm == 1 ? 0.2 + 0.3 * x : 0.8 - 0.3 * x; }
  static double model(int x, int arm) { return 0.3 + 0.1 * x - 0.05 * arm; }
  /// Half of the rows have x = 1: (0.1 + 0.2 + 0.15) / 2 + (0.1 + 0.15 / 2) / 2.
  static constexpr double kTruth = 0.45 / 2 + 0.175 / 2;
  explicit World(std::uint64_t number) {
    RandomStream random(12, Purpose::kSimulation, number);
    for (std::int64_t user = 0; user < kUsers; ++user) {
      const double taste = random.uniform() < 0.5 ? 0.1 : 1.9;
      const auto count = 1 + random.below(8);
      for (std::uint64_t k = 0; k < count; ++k) {
        const int x = random.uniform() < 0.5, arm = random.uniform() < propensity(x, 1);
        const bool reward = random.uniform() < taste * chance(x, arm);
        rows.push_back({.user = user,
                        .weight = policy(x, arm) / propensity(x, arm),
                        .observed = random.uniform() < 0.5,
                        .reward = reward ? 1.0 : 0.0,
                        // knows something of the response itself
                        .score = 0.5 * model(x, arm) + (reward ? 0.3 : 0.05),
                        .predicted = model(x, arm),
                        .policy_predicted = policy(x, 0) * model(x, 0) + policy(x, 1) * model(x, 1),
                        .rare_predicted = x == 1 ? 0.0 : policy(0, 1) * model(0, 1)});  // a weight of 2.5, above 2.2
      }
    }
  }
};

TEST(OffPolicy, IntervalsCoverTheTruthWhateverTheModel) {
  constexpr int kWorlds = 400;
  const std::vector<std::function<PolicyEstimate(const World&)>> estimators{
      [](const World& world) { return importance_sampling(world.rows, World::kUsers); },
      [](const World& world) { return self_normalized(world.rows, World::kUsers); },
      [](const World& world) { return doubly_robust(world.rows, World::kUsers); },
      [](const World& world) { return prediction_powered(world.rows, World::kUsers, kNaN).estimate; }};
  std::vector<int> covered(estimators.size(), 0);
  std::vector<double> widths(estimators.size(), 0.0);
  for (int number = 0; number < kWorlds; ++number) {
    const World world(static_cast<std::uint64_t>(number));
    for (std::size_t i = 0; i < estimators.size(); ++i) {
      const Interval interval = estimators[i](world).interval();
      covered[i] += interval.low <= World::kTruth && World::kTruth <= interval.high;
      widths[i] += interval.high - interval.low;
    }
  }
  // 95 % of 400 with a binomial standard deviation of 4.4.
  for (std::size_t i = 0; i < estimators.size(); ++i) {
    EXPECT_GT(covered[i], 362) << i;
    EXPECT_LT(covered[i], 395) << i;
  }
  EXPECT_LT(widths[3], 0.9 * widths[1]) << "predictions for what is not observed narrow the interval";
}

TEST(OffPolicy, IntervalsOfResponsesThatPretendToBeUsersAreTooShort) {
  int covered = 0;
  for (int number = 0; number < 400; ++number) {
    World world(static_cast<std::uint64_t>(number));
    std::int64_t next = 0;
    for (LoggedResponse& row : world.rows) {
      row.weight = 1;  // the log's own mixture: (0.45 * 0.5 + 0.3 * 0.5 + 0.25 * 0.2 + 0.1 * 0.8) / 2
      row.user = next++;
      row.observed = true;
    }
    const Interval interval = self_normalized(world.rows, next).interval();
    covered += interval.low <= 0.2525 && 0.2525 <= interval.high;
  }
  EXPECT_LT(covered, 350) << "so the clusters matter in this world";
}

TEST(OffPolicy, TheDirectMethodIsAsWrongAsItsModel) {
  double sum = 0, mixed = 0, plain = 0;
  for (int number = 0; number < 50; ++number) {
    const World world(static_cast<std::uint64_t>(number));
    sum += direct_method(world.rows, World::kUsers).value / 50;
    mixed += switch_doubly_robust(world.rows, World::kUsers, 2.2).value / 50;
    plain += switch_estimator(world.rows, World::kUsers, 2.2).value / 50;
  }
  const double model = (World::model(1, 1) + (World::model(0, 0) + World::model(0, 1)) / 2) / 2;
  EXPECT_NEAR(sum, model, 0.005);
  // Weights: x = 1 arm 1: 2; x = 0 arm 0: 0.625; x = 0 arm 1: 2.5, above 2.2, where the model stands in.
  EXPECT_NEAR(mixed, World::kTruth + 0.25 * (World::model(0, 1) - World::chance(0, 1)), 0.01);
  EXPECT_NEAR(plain, World::kTruth + 0.25 * (World::model(0, 1) - World::chance(0, 1)), 0.01);
}

// A model whose predictions are means of the log's own scores: its error is theirs, so the interval has to hold it.
TEST(OffPolicy, DirectMethodKnowsTheScatterOfItsScores) {
  int covered = 0;
  for (int number = 0; number < 400; ++number) {
    RandomStream random(13, Purpose::kSimulation, static_cast<std::uint64_t>(number));
    std::vector<LoggedResponse> rows;
    std::array<double, 2> sums{}, counts{};
    for (std::int64_t user = 0; user < 200; ++user) {
      const int arm = random.uniform() < 0.3;
      rows.push_back({.user = user, .weight = arm == 1 ? 1.0 : 0.0, .score = 0.4 + 0.2 * random.normal()});
      sums[static_cast<std::size_t>(arm)] += rows.back().score;
      counts[static_cast<std::size_t>(arm)] += 1;
    }
    for (LoggedResponse& row : rows) {
      const std::size_t arm = row.weight > 0 ? 1 : 0;
      row.predicted = sums[arm] / counts[arm];
      row.policy_predicted = sums[1] / counts[1];
      row.weight *= 200 / counts[1];
    }
    const Interval interval = direct_method(rows, 200).interval();
    covered += interval.low <= 0.4 && 0.4 <= interval.high;
  }
  EXPECT_GT(covered, 360);
  EXPECT_LT(covered, 395);
}

}  // namespace
}  // namespace rluf
