#include "rluf/statistics/logistic.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "rluf/core/random.hpp"
#include "rluf/statistics/distributions.hpp"
#include "rluf/statistics/ratio.hpp"

namespace rluf {
namespace {

struct Data {
  std::vector<std::vector<double>> terms;
  std::vector<double> outcomes;
  std::vector<int> users;
};

LogisticFit fit(const Data& data) {
  const std::size_t n = data.terms[0].size();
  return fit_logistic(n, [&](std::span<const double> coefficients) {
    LogisticSums sums(n);
    for (std::size_t i = 0; i < data.terms.size(); ++i)
      LogisticSums::add(data.terms[i], data.outcomes[i], 1, coefficients, sums.values);
    return sums.values;
  });
}

Interval log_odds_ratio(const Data& data) {
  const LogisticFit result = fit(data);
  EXPECT_EQ(result.problem, "");
  const std::size_t n = data.terms[0].size();
  std::vector<double> outer(n * (n + 1) / 2, 0.0), score(n, 0.0);
  std::int64_t users = 0;
  for (std::size_t i = 0; i < data.terms.size(); ++i) {
    double log_odds = 0;
    for (std::size_t t = 0; t < n; ++t) log_odds += data.terms[i][t] * result.coefficients[t];
    for (std::size_t t = 0; t < n; ++t) score[t] += (data.outcomes[i] - logistic(log_odds)) * data.terms[i][t];
    if (i + 1 < data.users.size() && data.users[i + 1] == data.users[i]) continue;
    std::size_t at = 0;
    for (std::size_t a = 0; a < n; ++a)
      for (std::size_t b = a; b < n; ++b) outer[at++] += score[a] * score[b];
    score.assign(n, 0.0);
    ++users;
  }
  const auto covariance =
      clustered_covariance(result.bread, outer, users, static_cast<std::int64_t>(data.terms.size()));
  return normal_interval(result.coefficients[1], covariance[n + 1]);
}

TEST(Logistic, OneBinaryTermIsTheOddsRatioOfTheTable) {
  Data data;
  const auto add = [&](double x, double y, int count) {
    for (int i = 0; i < count; ++i) {
      data.terms.push_back({1, x});
      data.outcomes.push_back(y);
      data.users.push_back(static_cast<int>(data.users.size()));
    }
  };
  add(1, 1, 30), add(1, 0, 10), add(0, 1, 200), add(0, 0, 300);
  const LogisticFit result = fit(data);
  EXPECT_NEAR(result.coefficients[1], std::log(30.0 * 300 / (10 * 200)), 1e-10);
  EXPECT_NEAR(result.coefficients[0], std::log(200.0 / 300), 1e-10);
  EXPECT_NEAR(result.bread[3], 1 / 30.0 + 1 / 10.0 + 1 / 200.0 + 1 / 300.0, 1e-9) << "Woolf's variance";
}

TEST(Logistic, SaysWhyThereIsNoFit) {
  Data separated;
  for (int i = 0; i < 40; ++i) {
    separated.terms.push_back({1, i < 10 ? 1.0 : 0.0});
    separated.outcomes.push_back(i < 10 || i % 2);
  }
  EXPECT_NE(fit(separated).problem, "");
  Data twice;
  for (int i = 0; i < 40; ++i) {
    twice.terms.push_back({1, i % 3 == 0 ? 1.0 : 0.0, i % 3 == 0 ? 2.0 : 0.0});
    twice.outcomes.push_back(i % 2);
  }
  EXPECT_NE(fit(twice).problem.find("told apart"), std::string::npos);
}

TEST(Logistic, TermsThatFollowFromOthersAreFound) {
  const std::vector<std::vector<double>> rows{
      {1, 0, 2, 2, 0.5}, {1, 1, 2, 3, 0.1}, {1, 0, 2, 2, 0.9}, {1, 1, 2, 3, 0.4}};
  SquareMatrix gram(25, 0.0);
  for (const auto& row : rows)
    for (std::size_t i = 0; i < 5; ++i)
      for (std::size_t j = 0; j < 5; ++j) gram[5 * i + j] += row[i] * row[j];
  EXPECT_EQ(independent_terms(gram, 5), (std::vector<std::size_t>{0, 1, 4}));
}

TEST(Logistic, InverseOfAPositiveMatrix) {
  const SquareMatrix matrix{4, 2, 0.5, 2, 3, 0.2, 0.5, 0.2, 1}, inverse = inverse_positive(matrix, 3);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < 3; ++k) sum += matrix[3 * i + k] * inverse[3 * k + j];
      EXPECT_NEAR(sum, i == j, 1e-14);
    }
  EXPECT_TRUE(inverse_positive({1, 2, 2, 1}, 2).empty());
}

TEST(Logistic, FindsTheTrueOddsRatioBehindAConfounder) {
  // Active users give the signal more often and stay anyway: the crude odds ratio is far off, the adjusted one is not.
  constexpr double kTruth = 0.7;
  RandomStream random(3, Purpose::kSimulation);
  Data adjusted, crude;
  for (int user = 0; user < 8000; ++user) {
    const double activity = random.normal();
    for (int i = 0; i < 3; ++i) {
      const double x = random.uniform() < logistic(-1 + activity) ? 1 : 0;
      const double y = random.uniform() < logistic(-0.5 + kTruth * x + activity) ? 1 : 0;
      for (Data* data : {&adjusted, &crude}) {
        data->terms.push_back(data == &crude ? std::vector<double>{1, x} : std::vector<double>{1, x, activity});
        data->outcomes.push_back(y);
        data->users.push_back(user);
      }
    }
  }
  EXPECT_NEAR(log_odds_ratio(adjusted).value, kTruth, 0.1);
  EXPECT_GT(log_odds_ratio(crude).low, kTruth);
}

TEST(Logistic, ClusteredIntervalsCover) {
  // Signal and outcome hold for all of a user's responses: intervals over responses would be far too narrow.
  int covered = 0, covered_naive = 0;
  constexpr int kWorlds = 300;
  constexpr double kTruth = 0.5;
  for (int world = 0; world < kWorlds; ++world) {
    RandomStream random(5, Purpose::kSimulation, static_cast<std::uint64_t>(world));
    Data data;
    for (int user = 0; user < 200; ++user) {
      const double x = random.uniform() < 0.4 ? 1 : 0, y = random.uniform() < logistic(-0.2 + kTruth * x) ? 1 : 0;
      for (int i = 0; i < 5; ++i) {
        data.terms.push_back({1, x});
        data.outcomes.push_back(y);
        data.users.push_back(user);
      }
    }
    const Interval interval = log_odds_ratio(data);
    covered += interval.low <= kTruth && kTruth <= interval.high;
    const LogisticFit naive = fit(data);
    const Interval narrow = normal_interval(naive.coefficients[1], naive.bread[3]);
    covered_naive += narrow.low <= kTruth && kTruth <= narrow.high;
  }
  EXPECT_GT(covered, 0.92 * kWorlds);
  EXPECT_LT(covered, 0.985 * kWorlds);
  EXPECT_LT(covered_naive, 0.75 * kWorlds);
}

}  // namespace
}  // namespace rluf
