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
/// @shape clusters [num_prompts]: number of each prompt's user from 0, whose prompts are drawn together; empty: prompts
/// are drawn one by one
std::vector<Standing> compare_candidates(const std::vector<std::vector<double>>& values, std::int64_t num_replicates,
                                         std::uint64_t seed, std::span<const std::int64_t> clusters = {});

/// One candidate's figure is sum of numerators / sum of denominators. @shape both [num_clusters]
struct ClusterSums {
  std::vector<double> numerators, denominators;
};
/// The same for ratios: each replicate resamples the clusters once, for all candidates alike. @shape candidates
/// [num_candidates], each with the same clusters
std::vector<Standing> compare_ratios_of_clusters(const std::vector<ClusterSums>& candidates,
                                                 std::int64_t num_replicates, std::uint64_t seed);

/// What may be concluded from a correlation over so few candidates, as one sentence.
std::string agreement_sentence(const Interval& pearson, std::int64_t n);

/// Pearson correlation without each point in turn; empty below four points, since two leave no correlation to see.
/// @shape x, y [n] -> [n]
std::vector<double> leave_one_out(std::span<const double> x, std::span<const double> y);

/// n, Pearson with Fisher's interval, Spearman, the sentence, and Pearson without each candidate ("leave_one_out":
/// [{"without", "pearson"}] with its own sentence), as they stand in the tables. Offline means and online rates of the
/// same candidates. @shape offline, online, names [n]
nlohmann::json offline_online_agreement(std::span<const double> offline, std::span<const double> online,
                                        std::span<const std::string> names);

}  // namespace rluf
