#include "rluf/statistics/logistic.hpp"

#include <cmath>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

constexpr int kMaxIterations = 60;
/// Log-odds of a term at which a fit is taken for one that would never end: the outcome is the same wherever it holds.
constexpr double kSeparated = 25;

}  // namespace

double logistic(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

LogisticSums::LogisticSums(std::size_t num_terms) : values(size_of(num_terms), 0.0) {}

void LogisticSums::add(std::span<const double> terms, double successes, double trials,
                       std::span<const double> coefficients, std::span<double> values) {
  const std::size_t n = terms.size();
  RLUF_ASSERT(coefficients.size() == n && values.size() == size_of(n));
  double log_odds = 0;
  for (std::size_t i = 0; i < n; ++i) log_odds += coefficients[i] * terms[i];
  const double p = logistic(log_odds), residual = successes - trials * p, weight = trials * p * (1 - p);
  values[0] += successes * log_odds - trials * softplus(log_odds);
  std::size_t at = 1;
  for (std::size_t i = 0; i < n; ++i) values[at++] += residual * terms[i];
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) values[at++] += weight * terms[i] * terms[j];
}

SquareMatrix from_triangle(std::span<const double> triangle, std::size_t n) {
  RLUF_ASSERT(triangle.size() == n * (n + 1) / 2);
  SquareMatrix matrix(n * n);
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) matrix[i * n + j] = matrix[j * n + i] = triangle[at++];
  return matrix;
}

std::vector<std::size_t> independent_terms(const SquareMatrix& gram, std::size_t n) {
  RLUF_ASSERT(gram.size() == n * n);
  std::vector<std::size_t> kept;
  std::vector<std::vector<double>> lower;  // Cholesky's rows of the kept terms
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> row;
    double rest = gram[i * n + i];  // of the squared length, beside the kept terms
    for (std::size_t k = 0; k < kept.size(); ++k) {
      double sum = gram[i * n + kept[k]];
      for (std::size_t j = 0; j < k; ++j) sum -= row[j] * lower[k][j];
      row.push_back(sum / lower[k][k]);
      rest -= row[k] * row[k];
    }
    if (!(rest > 1e-9 * gram[i * n + i])) continue;
    row.push_back(std::sqrt(rest));
    lower.push_back(row);
    kept.push_back(i);
  }
  return kept;
}

SquareMatrix inverse_positive(const SquareMatrix& matrix, std::size_t n) {
  RLUF_ASSERT(matrix.size() == n * n);
  SquareMatrix lower(n * n, 0.0);  // matrix = lower lower'
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = matrix[i * n + j];
      for (std::size_t k = 0; k < j; ++k) sum -= lower[i * n + k] * lower[j * n + k];
      if (i != j) {
        lower[i * n + j] = sum / lower[j * n + j];
      } else if (sum > 1e-12 * matrix[i * n + i]) {
        lower[i * n + i] = std::sqrt(sum);
      } else {
        return {};
      }
    }
  SquareMatrix half(n * n, 0.0);  // lower^-1
  for (std::size_t column = 0; column < n; ++column)
    for (std::size_t i = column; i < n; ++i) {
      double sum = i == column ? 1 : 0;
      for (std::size_t k = column; k < i; ++k) sum -= lower[i * n + k] * half[k * n + column];
      half[i * n + column] = sum / lower[i * n + i];
    }
  SquareMatrix inverse(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t k = std::max(i, j); k < n; ++k) inverse[i * n + j] += half[k * n + i] * half[k * n + j];
  return inverse;
}

double quadratic_form(const SquareMatrix& matrix, std::span<const double> v) {
  double sum = 0;
  for (std::size_t i = 0; i < v.size(); ++i)
    for (std::size_t j = 0; j < v.size(); ++j) sum += v[i] * matrix[i * v.size() + j] * v[j];
  return sum;
}

LogisticFit fit_logistic(std::size_t num_terms,
                         const std::function<std::vector<double>(std::span<const double>)>& sums_at) {
  const std::size_t n = num_terms;
  LogisticFit fit{.problem = "", .coefficients = std::vector<double>(n, 0.0), .bread = {}, .iterations = 0};
  std::vector<double> sums = sums_at(fit.coefficients);
  for (; fit.iterations < kMaxIterations; ++fit.iterations) {
    fit.bread = inverse_positive(from_triangle(std::span(sums).subspan(1 + n), n), n);
    if (fit.bread.empty()) {
      fit.problem = "its terms cannot be told apart on these data";
      return fit;
    }
    std::vector<double> step(n, 0.0);
    double promise = 0;  // gradient . step: twice what the log-likelihood still has to gain
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) step[i] += fit.bread[i * n + j] * sums[1 + j];
      promise += step[i] * sums[1 + i];
    }
    if (promise < 1e-16 * (1 + std::abs(sums[0]))) return fit;
    double scale = 1;
    std::vector<double> next(n), next_sums;
    for (int halving = 0; halving < 40; ++halving, scale /= 2) {
      for (std::size_t i = 0; i < n; ++i) next[i] = fit.coefficients[i] + scale * step[i];
      next_sums = sums_at(next);
      if (next_sums[0] >= sums[0] - 1e-12 * std::abs(sums[0])) break;
    }
    fit.coefficients = next;
    sums = next_sums;
    for (const double coefficient : fit.coefficients)
      if (!(std::abs(coefficient) < kSeparated)) {
        fit.problem = "the outcome is the same wherever one of its terms holds";
        return fit;
      }
  }
  fit.problem = concat("no convergence in ", kMaxIterations, " steps");
  return fit;
}

SquareMatrix clustered_covariance(const SquareMatrix& bread, std::span<const double> outer, std::int64_t num_clusters,
                                  std::int64_t num_observations) {
  std::size_t n = 0;
  while (n * (n + 1) / 2 < outer.size()) ++n;
  RLUF_ASSERT(bread.size() == n * n);
  const auto g = static_cast<double>(num_clusters), observations = static_cast<double>(num_observations);
  const double correction = g / (g - 1) * (observations - 1) / (observations - static_cast<double>(n));
  const SquareMatrix meat = from_triangle(outer, n);
  SquareMatrix half(n * n, 0.0), covariance(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t k = 0; k < n; ++k) half[i * n + j] += bread[i * n + k] * meat[k * n + j];
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t k = 0; k < n; ++k) covariance[i * n + j] += correction * half[i * n + k] * bread[k * n + j];
  return covariance;
}

}  // namespace rluf
