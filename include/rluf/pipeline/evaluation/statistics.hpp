#pragma once
/// Comparing candidates that answered the same prompts, and offline scores with online truth. Pure functions.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rluf/pipeline/reward/metrics.hpp"

namespace rluf {

/// Interval of a correlation by Fisher's z: tanh(atanh(r) +- z / sqrt(n - 3)). NaN bounds below four points, and where
/// r is undefined. @source Fisher 1921
Interval fisher_interval(double r, std::int64_t n, double confidence = 0.95);

/// Pearson correlation of the ranks (ties get their mean); NaN where a side is constant. @shape x, y [n]
double spearman(std::span<const double> x, std::span<const double> y);

/// Where one candidate stands among the others.
struct Standing {
  Interval mean;                         ///< over prompts
  Interval difference_to_best;           ///< mean - mean of the best; 0 for the best itself
  std::int64_t place = 0;                ///< 1: the largest mean; ties go to the earlier candidate
  double place_low = 0, place_high = 0;  ///< 95 % of the resamples
  double share_best = 0;                 ///< of the resamples in which it comes first
};

/// Paired bootstrap: each replicate resamples the prompts once, for all candidates alike, so that what prompts have in
/// common cancels in the differences. Deterministic in `seed`. @shape values [num_candidates][num_prompts]
std::vector<Standing> compare_candidates(const std::vector<std::vector<double>>& values, std::int64_t num_replicates,
                                         std::uint64_t seed);

/// What may be concluded from a correlation over so few candidates, as one sentence.
std::string agreement_sentence(const Interval& pearson, std::int64_t n);

/// n, Pearson with Fisher's interval, Spearman and the sentence, as they stand in the tables. Offline means and online
/// rates of the same candidates. @shape offline, online [n]
nlohmann::json offline_online_agreement(std::span<const double> offline, std::span<const double> online);

}  // namespace rluf
