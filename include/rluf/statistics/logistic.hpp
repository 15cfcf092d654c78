#pragma once
/// Logistic regression with intervals clustered by user. Pure: whoever holds the observations adds up what one step
/// needs, in an order of his own.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "rluf/statistics/interval.hpp"

namespace rluf {

/// 1 / (1 + e^-x).
double logistic(double x);
/// log(1 + e^x) without overflow.
double softplus(double x);

/// What one step of Newton's method adds up over observations; `values` holds log-likelihood, gradient [num_terms] and
/// the upper triangle of the information [num_terms (num_terms + 1) / 2], so that parts can be added.
class LogisticSums {
 public:
  explicit LogisticSums(std::size_t num_terms);
  static std::size_t size_of(std::size_t num_terms) { return 1 + num_terms + num_terms * (num_terms + 1) / 2; }
  /// `trials` observations with the same terms, `successes` of them 1. @shape terms, coefficients [num_terms]
  static void add(std::span<const double> terms, double successes, double trials, std::span<const double> coefficients,
                  std::span<double> values);
  std::vector<double> values;
};

/// A symmetric matrix as rows. @shape [n * n]
using SquareMatrix = std::vector<double>;

struct LogisticFit {
  std::string problem;  ///< why there is no fit; empty: there is one
  std::vector<double> coefficients;
  SquareMatrix bread;  ///< inverse of the information
  std::int64_t iterations = 0;
};
/// Maximum likelihood by Newton's method with halved steps. `sums_at(coefficients)` gives LogisticSums::values.
/// @source iteratively reweighted least squares: McCullagh and Nelder, "Generalized linear models", 1989, section 2.5
LogisticFit fit_logistic(std::size_t num_terms,
                         const std::function<std::vector<double>(std::span<const double>)>& sums_at);

/// Covariance of the coefficients from the clusters' scores: bread * (sum s s') * bread, with the correction
/// G / (G - 1) * (N - 1) / (N - num_terms). @shape outer: upper triangle of sum s s'
/// @source Liang and Zeger 1986; Cameron and Miller, "A practitioner's guide to cluster-robust inference", 2015
SquareMatrix clustered_covariance(const SquareMatrix& bread, std::span<const double> outer, std::int64_t num_clusters,
                                  std::int64_t num_observations);

/// Which terms add something to those before them: the others are constant or follow from these on the data at hand.
/// @shape gram: sum over observations of terms times terms [n * n] -> indices, ascending
std::vector<std::size_t> independent_terms(const SquareMatrix& gram, std::size_t n);

/// Inverse of a positive definite matrix (Cholesky); empty if it is not. @shape matrix [n * n]
SquareMatrix inverse_positive(const SquareMatrix& matrix, std::size_t n);
/// From an upper triangle, row by row. @shape triangle [n (n + 1) / 2] -> [n * n]
SquareMatrix from_triangle(std::span<const double> triangle, std::size_t n);
/// v' M v.
double quadratic_form(const SquareMatrix& matrix, std::span<const double> v);

}  // namespace rluf
