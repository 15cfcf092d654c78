#pragma once
/// Quantiles and tails of distributions (Boost.Math behind them), and what follows from many tails. Pure functions.
#include <cstdint>
#include <span>

namespace rluf {

/// z with Phi(z) = p, for 0 < p < 1.
double normal_quantile(double p);
/// P(|Z| >= |z|) for a standard normal variable; NaN for NaN.
double normal_two_sided(double z);
/// P(Z >= z).
double normal_upper(double z);
/// P(X >= statistic) for a chi-square variable.
double chi_square_tail(double statistic, std::int64_t degrees_of_freedom);

/// P(X >= count) for X ~ Binomial(trials, p); exact.
double binomial_tail(std::int64_t count, std::int64_t trials, double p);
/// The smallest count with P(X > count) <= alpha for X ~ Binomial(trials, p): what chance alone may reach.
std::int64_t binomial_limit(std::int64_t trials, double p, double alpha);

/// P(k of `drawn` have it, drawn without return from `total` of which `with` have it).
double hypergeometric(std::int64_t k, std::int64_t with, std::int64_t drawn, std::int64_t total);

/// How many of the smallest p values are rejected among `num_tests`, with a false discovery rate of at most `alpha`.
/// @shape ascending [n], n <= num_tests; those left out must be above alpha, since none of them can be rejected
/// @source Benjamini and Hochberg, "Controlling the false discovery rate", 1995
std::int64_t benjamini_hochberg(std::span<const double> ascending, std::int64_t num_tests, double alpha);

}  // namespace rluf
