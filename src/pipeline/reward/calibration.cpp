#include "rluf/pipeline/reward/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/dataset/selection.hpp"
#include "rluf/pipeline/reward/metrics.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

double line_of(double raw_score, const Calibration& calibration) {
  return calibration.scale * (raw_score + calibration.prior_correction) + calibration.shift;
}

/// On the line between the knots around it; flat beyond the outer ones.
double interpolated(double x, const std::vector<double>& at, const std::vector<double>& values) {
  const auto above = static_cast<std::size_t>(std::upper_bound(at.begin(), at.end(), x) - at.begin());
  if (above == 0) return values.front();
  if (above == at.size()) return values.back();
  const double part = (x - at[above - 1]) / (at[above] - at[above - 1]);
  return values[above - 1] + part * (values[above] - values[above - 1]);
}

/// Rows that the isotonic fit gives one value.
struct Block {
  double first, last, weight, positives;
  double rate() const { return positives / weight; }
};

/// Equal scores are one block; then neighbours are pooled until rates rise. @shape ascending scores
std::vector<Block> rising_blocks(const BinaryScores& scores, double positive_weight) {
  std::vector<Block> blocks;
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    const double x = scores.logits[i], label = scores.labels[i], weight = label > 0.5 ? positive_weight : 1;
    if (i > 0 && x == scores.logits[i - 1]) {
      blocks.back().weight += weight;
      blocks.back().positives += weight * label;
    } else {
      blocks.push_back({x, x, weight, weight * label});
    }
    const bool ends_tie = i + 1 == scores.logits.size() || scores.logits[i + 1] != x;
    while (ends_tie && blocks.size() > 1 && blocks[blocks.size() - 2].rate() >= blocks.back().rate()) {
      const Block upper = blocks.back();
      blocks.pop_back();
      blocks.back() = {blocks.back().first, upper.last, blocks.back().weight + upper.weight,
                       blocks.back().positives + upper.positives};
    }
  }
  return blocks;
}

bool has_both_classes(const std::vector<double>& labels) {
  const double positives = std::accumulate(labels.begin(), labels.end(), 0.0);
  return positives > 0 && positives < static_cast<double>(labels.size());
}

BinaryScores sorted_rows(const std::vector<double>& raw, const std::vector<double>& labels) {
  std::vector<std::int64_t> rows(raw.size());
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return BinaryScores::sorted(raw, labels, rows);
}

}  // namespace

double calibrated_logit(double raw_score, const Calibration& calibration) {
  if (calibration.logits.empty()) return line_of(raw_score, calibration);
  return log_odds(calibrated_probability(raw_score, calibration));
}

double calibrated_probability(double raw_score, const Calibration& calibration) {
  const double logit = line_of(raw_score, calibration);
  if (calibration.logits.empty()) return 1 / (1 + std::exp(-logit));
  return interpolated(logit, calibration.logits, calibration.probabilities);
}

double disagreement(const double* heads, std::size_t num_heads) {
  return num_heads < 2 ? 0 : std::sqrt(moments({heads, num_heads}).variance);
}

double combined_heads(const double* heads, std::size_t num_heads, const Calibration& calibration) {
  if (num_heads == 1) return heads[0];
  const Moments all = moments({heads, num_heads});
  return calibration.heads == "lower" ? all.mean - calibration.lower_deviations * std::sqrt(all.variance) : all.mean;
}

std::pair<double, double> length_line(const std::vector<double>& scores, const std::vector<double>& tokens) {
  RLUF_ASSERT(scores.size() == tokens.size());
  std::vector<double> lengths;
  for (const double count : tokens) lengths.push_back(std::log(std::max(1.0, count)));
  const Moments x = moments(lengths), y = moments(scores);
  const double r = pearson(lengths, scores);  // not a number where a side is constant
  return {std::isfinite(r) ? r * std::sqrt(y.variance / x.variance) : 0.0, x.mean};
}

double without_length(double score, double tokens, const Calibration& calibration) {
  if (calibration.length_slope == 0) return score;
  return score - calibration.length_slope * (std::log(std::max(1.0, tokens)) - calibration.length_center);
}

bool fit_temperature(const std::vector<double>& raw, const std::vector<double>& labels, Calibration& calibration) {
  if (!has_both_classes(labels)) return false;
  const double prior = calibration.prior_correction;
  double scale = 1;
  for (int iteration = 0; iteration < 100; ++iteration) {
    double gradient = 0, information = 0;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      const double x = raw[i] + prior, p = logistic(scale * x - prior);
      gradient += (labels[i] - p) * x;
      information += p * (1 - p) * x * x;
    }
    if (!(information > 0)) return false;
    const double step = std::clamp(gradient / information, -0.5, 0.5);
    scale += step;
    if (!(std::abs(scale) < 1e3)) return false;  // separated
    if (std::abs(step) < 1e-10) break;
  }
  if (!(scale > 0)) return false;
  calibration.scale = scale;
  calibration.shift = 0;
  return true;
}

bool fit_platt(const std::vector<double>& raw, const std::vector<double>& labels, Calibration& calibration) {
  const auto [intercept, slope] = calibration_line(sorted_rows(raw, labels), std::vector<double>(raw.size(), 1.0));
  if (!(slope > 0)) return false;  // also undefined
  // The line is one of the raw logit at the window's rate; the prior correction is added after it.
  calibration.scale = slope;
  calibration.shift = intercept + (1 - slope) * calibration.prior_correction;
  return true;
}

bool fit_isotonic(const std::vector<double>& raw, const std::vector<double>& labels, Calibration& calibration) {
  if (!has_both_classes(labels)) return false;
  std::vector<double> logits;
  for (const double score : raw) logits.push_back(line_of(score, calibration));
  const double positive_weight = std::exp(calibration.prior_correction);
  const std::vector<Block> blocks = rising_blocks(sorted_rows(logits, labels), positive_weight);
  if (blocks.size() < 2) return false;
  double weight = 0;
  for (const Block& block : blocks) weight += block.weight;
  const double least = 0.5 * std::min(1.0, positive_weight) / weight;
  for (const Block& block : blocks) {
    const double probability = std::clamp(block.rate(), least, 1 - least);
    for (const double end : {block.first, block.last}) {
      if (!calibration.logits.empty() && calibration.logits.back() == end) continue;  // a block of one score
      calibration.logits.push_back(end);
      calibration.probabilities.push_back(probability);
    }
  }
  return true;
}

}  // namespace rluf
