#include "rluf/statistics/distributions.hpp"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/hypergeometric.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cmath>

#include "rluf/core/error.hpp"

namespace rluf {

namespace bm = boost::math;

double normal_quantile(double p) {
  RLUF_ASSERT(p > 0 && p < 1);
  return bm::quantile(bm::normal(), p);
}

double normal_two_sided(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

double normal_upper(double z) { return 0.5 * std::erfc(z / std::sqrt(2.0)); }

double chi_square_tail(double statistic, std::int64_t degrees_of_freedom) {
  RLUF_ASSERT(degrees_of_freedom > 0);
  if (!(statistic > 0)) return 1;
  return bm::cdf(bm::complement(bm::chi_squared(static_cast<double>(degrees_of_freedom)), statistic));
}

double binomial_tail(std::int64_t count, std::int64_t trials, double p) {
  RLUF_ASSERT(count <= trials && p >= 0 && p <= 1);
  if (count <= 0) return 1;
  return bm::cdf(bm::complement(bm::binomial(static_cast<double>(trials), p), static_cast<double>(count - 1)));
}

double hypergeometric(std::int64_t k, std::int64_t with, std::int64_t drawn, std::int64_t total) {
  RLUF_ASSERT(with <= total && drawn <= total);
  if (k < std::max<std::int64_t>(0, with + drawn - total) || k > std::min(with, drawn)) return 0;
  return bm::pdf(
      bm::hypergeometric(static_cast<unsigned>(with), static_cast<unsigned>(drawn), static_cast<unsigned>(total)),
      static_cast<unsigned>(k));
}

std::int64_t binomial_limit(std::int64_t trials, double p, double alpha) {
  std::int64_t low = 0, high = trials;  // P(X > high) <= alpha throughout
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (binomial_tail(middle + 1, trials, p) <= alpha)
      high = middle;
    else
      low = middle + 1;
  }
  return high;
}

std::int64_t benjamini_hochberg(std::span<const double> ascending, std::int64_t num_tests, double alpha) {
  RLUF_ASSERT(std::ssize(ascending) <= num_tests);
  for (std::int64_t i = std::ssize(ascending); i > 0; --i)
    if (ascending[static_cast<std::size_t>(i - 1)] <= alpha * static_cast<double>(i) / static_cast<double>(num_tests))
      return i;
  return 0;
}

}  // namespace rluf
