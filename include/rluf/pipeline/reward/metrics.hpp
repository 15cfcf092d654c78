#pragma once
/// How good scores are: discrimination, calibration, length bias, each with an interval. Pure functions.
#include <cstdint>
#include <functional>
#include <vector>

#include "rluf/statistics/interval.hpp"

namespace rluf {

/// Keys (user hashes) as 0..num_clusters-1 in their order.
struct Clusters {
  explicit Clusters(const std::vector<std::int64_t>& keys);
  std::vector<std::int64_t> numbers;  ///< @shape [keys.size()]
  std::int64_t count = 0;
};

/// Scored examples with 0/1 labels in ascending order of score. `clusters`: 0..num_clusters-1, what a bootstrap
/// resamples.
struct BinaryScores {
  std::vector<double> logits, labels;
  std::vector<std::int64_t> clusters;
  std::int64_t num_clusters = 0;
  /// Sorts; `cluster_keys` may be any numbers (user hashes).
  static BinaryScores sorted(const std::vector<double>& logits, const std::vector<double>& labels,
                             const std::vector<std::int64_t>& cluster_keys);
};

/// Weights count how often an example stands in a resample (all 1: the data themselves). @shape weights [n]
/// Every one returns NaN where it is undefined (one class only).
/// Area under the ROC curve, ties count half. @source Mann-Whitney
double auroc(const BinaryScores& scores, const std::vector<double>& weights);
/// Average precision: sum over distinct thresholds of precision times gained recall.
double auprc(const BinaryScores& scores, const std::vector<double>& weights);
double log_loss(const BinaryScores& scores, const std::vector<double>& weights);
double brier(const BinaryScores& scores, const std::vector<double>& weights);
/// Expected calibration error over bins of equal mass. @source ALGORITHM 3.3
double ece(const BinaryScores& scores, const std::vector<double>& weights, int num_bins = 10);
/// Logistic regression of the label on the logit: {intercept, slope}; {0, 1} is perfect. Newton's method.
std::pair<double, double> calibration_line(const BinaryScores& scores, const std::vector<double>& weights);

/// Of predictions of a number. @shape predicted, truth, weights [n]; NaN where undefined
struct Predictions {
  std::vector<double> predicted, truth;
};
/// 1 - sum of squared errors / sum of squares around the mean.
double r_squared(const Predictions& of, const std::vector<double>& weights);
/// Correlation of ranks, ties get their mean. @source Spearman 1904
double rank_correlation(const Predictions& of, const std::vector<double>& weights);
/// Agreement of two sets of levels beyond chance, errors counted by their square.
/// @source Cohen, "Weighted kappa", 1968; as 2 cov / (var + var + squared difference of means): Lin 1989
double quadratic_kappa(const Predictions& of, const std::vector<double>& weights);
double mean_absolute_error(const Predictions& of, const std::vector<double>& weights);

struct ReliabilityBin {
  double mean_probability, rate, count;
};
std::vector<ReliabilityBin> reliability(const BinaryScores& scores, int num_bins = 10);

/// Percentile interval (95 %) of a statistic under resampling of whole clusters. NaN replicates are left out.
Interval bootstrap_interval(const std::vector<std::int64_t>& clusters, std::int64_t num_clusters, int num_replicates,
                            std::uint64_t seed,
                            const std::function<double(const std::vector<double>& weights)>& statistic);
using BinaryMetric = std::function<double(const BinaryScores&, const std::vector<double>& weights)>;
/// The same of a metric of scores, by their clusters.
Interval metric_interval(const BinaryScores& scores, int num_replicates, std::uint64_t seed,
                         const BinaryMetric& metric);
/// Percentile interval of given replicates around a value.
Interval percentile_interval(double value, std::vector<double> replicates);

}  // namespace rluf
