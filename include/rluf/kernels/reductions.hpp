#pragma once
/// Metric reductions over the examples of a rank.
#include <span>
#include <vector>

namespace rluf {

struct Moments {
  double count = 0, mean = 0, variance = 0;  ///< variance with count - 1
};
Moments moments(std::span<const double> values);
/// Pearson correlation; NaN where a side is constant. @shape x, y [n]
double pearson(std::span<const double> x, std::span<const double> y);
/// Ranks from 1, ties get their mean. @shape out [n]
std::vector<double> average_ranks(std::span<const double> values);
/// Sums of `values` weighted by each replicate's multinomial counts, for the bootstrap: replicate b resamples the
/// clusters with RandomStream(seed, kBootstrap, b). @return [num_replicates] weighted means
std::vector<double> bootstrap_means(std::span<const double> cluster_sums, std::span<const double> cluster_counts,
                                    int num_replicates, unsigned long seed);

}  // namespace rluf
