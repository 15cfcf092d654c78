#include "rluf/statistics/distributions.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace rluf {
namespace {

TEST(Distributions, BinomialTailIsTheSumOfItsTerms) {
  double sum = 0;  // P(X >= 3), X ~ Binomial(10, 0.2)
  for (int k = 3; k <= 10; ++k)
    sum += std::tgamma(11) / std::tgamma(k + 1) / std::tgamma(11 - k) * std::pow(0.2, k) * std::pow(0.8, 10 - k);
  EXPECT_NEAR(binomial_tail(3, 10, 0.2), sum, 1e-14);
  EXPECT_EQ(binomial_tail(0, 10, 0.2), 1);
  EXPECT_NEAR(binomial_tail(10, 10, 0.2), std::pow(0.2, 10), 1e-20);
  EXPECT_EQ(binomial_tail(1, 5, 0), 0);
  EXPECT_EQ(binomial_tail(5, 5, 1), 1);
}

TEST(Distributions, BinomialLimitIsTheSmallestThatChancePassesSeldom) {
  for (const double p : {0.0, 0.001, 0.1, 0.5, 0.97})
    for (const int n : {1, 7, 300}) {
      const auto limit = binomial_limit(n, p, 0.05);
      EXPECT_LE(limit == n ? 0 : binomial_tail(limit + 1, n, p), 0.05);
      EXPECT_GT(limit == 0 ? 1 : binomial_tail(limit, n, p), 0.05);
    }
}

TEST(Distributions, TwoSidedNormal) {
  EXPECT_NEAR(normal_two_sided(normal_quantile(0.975)), 0.05, 1e-14);
  EXPECT_EQ(normal_two_sided(0), 1);
  EXPECT_TRUE(std::isnan(normal_two_sided(std::nan(""))));
}

TEST(Distributions, Hypergeometric) {
  EXPECT_NEAR(hypergeometric(2, 3, 4, 5), 0.6, 1e-12) << "C(3, 2) C(2, 2) / C(5, 4)";
  double sum = 0;
  for (int k = -1; k <= 8; ++k) sum += hypergeometric(k, 7, 5, 11);
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_EQ(hypergeometric(0, 7, 5, 11), 0) << "only four lack it";
  EXPECT_EQ(hypergeometric(0, 0, 5, 11), 1);
  EXPECT_NEAR(normal_upper(normal_quantile(0.9)), 0.1, 1e-14);
}

TEST(BenjaminiHochberg, ExampleOfThePaper) {
  // The fifteen p values of section 3.1; at 0.05 the procedure rejects four.
  const std::vector<double> p{0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
                              0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000};
  EXPECT_EQ(benjamini_hochberg(p, 15, 0.05), 4);
  EXPECT_EQ(benjamini_hochberg(std::span(p).first(9), 15, 0.05), 4) << "those above alpha may be left out";
  EXPECT_EQ(benjamini_hochberg({}, 15, 0.05), 0);
}

}  // namespace
}  // namespace rluf
