#include "rluf/pipeline/reward/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double total(const std::vector<double>& weights) { return std::accumulate(weights.begin(), weights.end(), 0.0); }

double positives(const BinaryScores& scores, const std::vector<double>& weights) {
  return std::inner_product(weights.begin(), weights.end(), scores.labels.begin(), 0.0);
}

/// Calls group(first, last) for each run of equal scores, lowest first.
template <class Group>
void for_each_tie(const BinaryScores& scores, const Group& group) {
  for (std::size_t first = 0; first < scores.logits.size();) {
    std::size_t last = first;
    while (last < scores.logits.size() && scores.logits[last] == scores.logits[first]) ++last;
    group(first, last);
    first = last;
  }
}

template <class Term>
double weighted_mean(const BinaryScores& scores, const std::vector<double>& weights, const Term& term) {
  double sum = 0;
  for (std::size_t i = 0; i < scores.logits.size(); ++i) sum += weights[i] * term(scores.logits[i], scores.labels[i]);
  return sum / total(weights);
}

/// Calls bin(sum of probabilities, sum of labels, weight) for each of the bins of equal mass.
template <class Bin>
void for_each_bin(const BinaryScores& scores, const std::vector<double>& weights, int num_bins, const Bin& bin) {
  const double mass = total(weights);
  double before = 0, probability = 0, label = 0, weight = 0;
  int next = 1;
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    probability += weights[i] * logistic(scores.logits[i]);
    label += weights[i] * scores.labels[i];
    weight += weights[i];
    before += weights[i];
    if (i + 1 == scores.logits.size() || before >= mass * next / num_bins) {
      if (weight > 0) bin(probability, label, weight);
      probability = label = weight = 0;
      while (next < num_bins && before >= mass * next / num_bins) ++next;
    }
  }
}

}  // namespace

Clusters::Clusters(const std::vector<std::int64_t>& keys) {
  std::map<std::int64_t, std::int64_t> number_of;
  for (const std::int64_t key : keys) number_of.emplace(key, 0);
  for (auto& [key, number] : number_of) number = count++;
  for (const std::int64_t key : keys) numbers.push_back(number_of[key]);
}

BinaryScores BinaryScores::sorted(const std::vector<double>& logits, const std::vector<double>& labels,
                                  const std::vector<std::int64_t>& cluster_keys) {
  RLUF_ASSERT(logits.size() == labels.size() && logits.size() == cluster_keys.size());
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return logits[a] < logits[b] || (logits[a] == logits[b] && a < b); });
  const Clusters clusters(cluster_keys);
  BinaryScores scores;
  scores.num_clusters = clusters.count;
  for (const std::size_t i : order) {
    scores.logits.push_back(logits[i]);
    scores.labels.push_back(labels[i]);
    scores.clusters.push_back(clusters.numbers[i]);
  }
  return scores;
}

double auroc(const BinaryScores& scores, const std::vector<double>& weights) {
  const double num_positive = positives(scores, weights), num_negative = total(weights) - num_positive;
  if (num_positive <= 0 || num_negative <= 0) return kNaN;
  double wins = 0, negatives_below = 0;
  for_each_tie(scores, [&](std::size_t first, std::size_t last) {
    double positive = 0, negative = 0;
    for (std::size_t i = first; i < last; ++i) (scores.labels[i] > 0.5 ? positive : negative) += weights[i];
    wins += positive * (negatives_below + 0.5 * negative);
    negatives_below += negative;
  });
  return wins / (num_positive * num_negative);
}

double auprc(const BinaryScores& scores, const std::vector<double>& weights) {
  const double num_positive = positives(scores, weights);
  if (num_positive <= 0) return kNaN;
  // From the lowest threshold upwards: everything at or above it is called positive.
  double true_positive = num_positive, called = total(weights), sum = 0;
  for_each_tie(scores, [&](std::size_t first, std::size_t last) {
    double positive = 0, all = 0;
    for (std::size_t i = first; i < last; ++i) {
      positive += weights[i] * scores.labels[i];
      all += weights[i];
    }
    if (called > 0) sum += positive / num_positive * (true_positive / called);
    true_positive -= positive;
    called -= all;
  });
  return sum;
}

double log_loss(const BinaryScores& scores, const std::vector<double>& weights) {
  return weighted_mean(scores, weights, [](double logit, double label) { return softplus(logit) - label * logit; });
}

double brier(const BinaryScores& scores, const std::vector<double>& weights) {
  return weighted_mean(scores, weights,
                       [](double logit, double label) { return std::pow(logistic(logit) - label, 2); });
}

double ece(const BinaryScores& scores, const std::vector<double>& weights, int num_bins) {
  double sum = 0;
  for_each_bin(scores, weights, num_bins,
               [&](double probability, double label, double) { sum += std::abs(probability - label); });
  return sum / total(weights);
}

std::vector<ReliabilityBin> reliability(const BinaryScores& scores, int num_bins) {
  std::vector<ReliabilityBin> bins;
  for_each_bin(scores, std::vector<double>(scores.logits.size(), 1.0), num_bins,
               [&](double probability, double label, double weight) {
                 bins.push_back({probability / weight, label / weight, weight});
               });
  return bins;
}

std::pair<double, double> calibration_line(const BinaryScores& scores, const std::vector<double>& weights) {
  const double num_positive = positives(scores, weights);
  if (num_positive <= 0 || num_positive >= total(weights)) return {kNaN, kNaN};
  // In units of the logits' spread, so that steps have a size that suits them.
  const double center = weighted_mean(scores, weights, [](double logit, double) { return logit; });
  const double spread = std::sqrt(
      weighted_mean(scores, weights, [&](double logit, double) { return (logit - center) * (logit - center); }));
  if (!(spread > 1e-12 * std::abs(center))) return {kNaN, kNaN};  // all logits equal
  double intercept = 0, slope = 0;
  for (int iteration = 0; iteration < 50; ++iteration) {
    double g0 = 0, g1 = 0, h00 = 0, h01 = 0, h11 = 0;
    for (std::size_t i = 0; i < scores.logits.size(); ++i) {
      const double x = (scores.logits[i] - center) / spread, p = logistic(intercept + slope * x), w = weights[i];
      g0 += w * (scores.labels[i] - p);
      g1 += w * (scores.labels[i] - p) * x;
      h00 += w * p * (1 - p);
      h01 += w * p * (1 - p) * x;
      h11 += w * p * (1 - p) * x * x;
    }
    const double determinant = h00 * h11 - h01 * h01;
    if (!(std::abs(determinant) > 1e-12 * h00 * h11)) return {kNaN, kNaN};  // separated
    const double d0 = (h11 * g0 - h01 * g1) / determinant, d1 = (h00 * g1 - h01 * g0) / determinant;
    const double damping = std::min(1.0, 2.0 / std::max({std::abs(d0), std::abs(d1), 1e-300}));
    intercept += damping * d0;
    slope += damping * d1;
    if (std::abs(d0) + std::abs(d1) < 1e-10) return {intercept - slope * center / spread, slope / spread};
  }
  return {kNaN, kNaN};
}

namespace {

/// Weighted moments of two columns.
struct Moments2 {
  double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;  ///< means; variances and covariance
  Moments2(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& weights) {
    const double all = total(weights);
    for (std::size_t i = 0; i < x.size(); ++i) {
      mean_x += weights[i] * x[i] / all;
      mean_y += weights[i] * y[i] / all;
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double dx = x[i] - mean_x, dy = y[i] - mean_y, share = weights[i] / all;
      xx += share * dx * dx;
      yy += share * dy * dy;
      xy += share * dx * dy;
    }
  }
};

double mean_error(const Predictions& of, const std::vector<double>& weights, double power) {
  double sum = 0;
  for (std::size_t i = 0; i < of.truth.size(); ++i)
    sum += weights[i] * std::pow(std::abs(of.predicted[i] - of.truth[i]), power);
  return of.truth.empty() ? kNaN : sum / total(weights);
}

std::vector<double> ranks_of(const std::vector<double>& values, const std::vector<double>& weights) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  double below = 0;
  for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
    double tied = 0;
    for (last = first; last < order.size() && values[order[last]] == values[order[first]]; ++last)
      tied += weights[order[last]];
    for (std::size_t i = first; i < last; ++i) ranks[order[i]] = below + 0.5 * tied;
    below += tied;
  }
  return ranks;
}

double ratio_or_nan(double a, double b) { return b > 0 ? a / b : kNaN; }

}  // namespace

double r_squared(const Predictions& of, const std::vector<double>& weights) {
  return 1 - ratio_or_nan(mean_error(of, weights, 2), Moments2(of.truth, of.truth, weights).yy);
}

double rank_correlation(const Predictions& of, const std::vector<double>& weights) {
  const Moments2 of_ranks(ranks_of(of.predicted, weights), ranks_of(of.truth, weights), weights);
  return ratio_or_nan(of_ranks.xy, std::sqrt(of_ranks.xx * of_ranks.yy));
}

double quadratic_kappa(const Predictions& of, const std::vector<double>& weights) {
  const Moments2 both(of.predicted, of.truth, weights);
  return ratio_or_nan(2 * both.xy, both.xx + both.yy + std::pow(both.mean_x - both.mean_y, 2));
}

double mean_absolute_error(const Predictions& of, const std::vector<double>& weights) {
  return mean_error(of, weights, 1);
}

Interval metric_interval(const BinaryScores& scores, int num_replicates, std::uint64_t seed,
                         const BinaryMetric& metric) {
  return bootstrap_interval(scores.clusters, scores.num_clusters, num_replicates, seed,
                            [&](const std::vector<double>& weights) { return metric(scores, weights); });
}

Interval percentile_interval(double value, std::vector<double> replicates) {
  std::erase_if(replicates, [](double x) { return !std::isfinite(x); });
  if (replicates.size() < 20) return {value, kNaN, kNaN};
  std::sort(replicates.begin(), replicates.end());
  const auto quantile = [&](double q) {
    const double position = q * static_cast<double>(replicates.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, replicates.size() - 1);
    return replicates[below] + (position - static_cast<double>(below)) * (replicates[above] - replicates[below]);
  };
  return {value, quantile(0.025), quantile(0.975)};
}

Interval bootstrap_interval(const std::vector<std::int64_t>& clusters, std::int64_t num_clusters, int num_replicates,
                            std::uint64_t seed,
                            const std::function<double(const std::vector<double>& weights)>& statistic) {
  std::vector<double> weights(clusters.size(), 1.0), replicates;
  const double value = statistic(weights);
  for (int replicate = 0; replicate < num_replicates && num_clusters > 0; ++replicate) {
    RandomStream random(seed, Purpose::kBootstrap, static_cast<std::uint64_t>(replicate));
    std::vector<double> counts(static_cast<std::size_t>(num_clusters), 0.0);
    for (std::int64_t draw = 0; draw < num_clusters; ++draw)
      counts[random.below(static_cast<std::uint64_t>(num_clusters))] += 1;
    for (std::size_t i = 0; i < clusters.size(); ++i) weights[i] = counts[static_cast<std::size_t>(clusters[i])];
    replicates.push_back(statistic(weights));
  }
  return percentile_interval(value, std::move(replicates));
}

}  // namespace rluf
