#include "rluf/kernels/reductions.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {
namespace {

using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>;

/// Sum of term(i) over fixed blocks that are added in order: the same bits with any number of threads.
template <class Term>
double blocked_sum(std::size_t n, const Term& term) {
  constexpr std::size_t kBlock = 4096;
  const std::size_t num_blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> sums(num_blocks, 0.0);
  Kokkos::parallel_for("blocked_sum", Policy(0, static_cast<std::int64_t>(num_blocks)), [&](const std::int64_t block) {
    const std::size_t first = static_cast<std::size_t>(block) * kBlock, last = std::min(n, first + kBlock);
    double sum = 0;
    for (std::size_t i = first; i < last; ++i) sum += term(i);
    sums[static_cast<std::size_t>(block)] = sum;
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

Moments moments(std::span<const double> values) {
  Moments result;
  const std::size_t n = values.size();
  result.count = static_cast<double>(n);
  if (n == 0) return result;
  const double mean = blocked_sum(n, [&](std::size_t i) { return values[i]; }) / result.count;
  result.mean = mean;
  if (n > 1)
    result.variance =
        blocked_sum(n, [&](std::size_t i) { return (values[i] - mean) * (values[i] - mean); }) / (result.count - 1);
  return result;
}

double pearson(std::span<const double> x, std::span<const double> y) {
  RLUF_ASSERT(x.size() == y.size());
  const Moments mx = moments(x), my = moments(y);
  if (x.size() < 2 || mx.variance == 0 || my.variance == 0) return std::numeric_limits<double>::quiet_NaN();
  const double covariance =
      blocked_sum(x.size(), [&](std::size_t i) { return (x[i] - mx.mean) * (y[i] - my.mean); }) / (mx.count - 1);
  return std::clamp(covariance / std::sqrt(mx.variance * my.variance), -1.0, 1.0);
}

std::vector<double> average_ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return values[a] < values[b] || (values[a] == values[b] && a < b); });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    const double mean_rank = 0.5 * static_cast<double>(first + 1 + last);
    for (std::size_t i = first; i < last; ++i) ranks[order[i]] = mean_rank;
    first = last;
  }
  return ranks;
}

std::vector<double> bootstrap_means(std::span<const double> cluster_sums, std::span<const double> cluster_counts,
                                    int num_replicates, unsigned long seed) {
  RLUF_ASSERT(cluster_sums.size() == cluster_counts.size());
  std::vector<double> means(static_cast<std::size_t>(num_replicates), std::numeric_limits<double>::quiet_NaN());
  if (cluster_sums.empty()) return means;
  Kokkos::parallel_for("bootstrap_means", Policy(0, num_replicates), [&](const std::int64_t replicate) {
    RandomStream random(seed, Purpose::kBootstrap, static_cast<std::uint64_t>(replicate));
    double sum = 0, count = 0;
    for (std::size_t draw = 0; draw < cluster_sums.size(); ++draw) {
      const std::size_t cluster = random.below(cluster_sums.size());
      sum += cluster_sums[cluster];
      count += cluster_counts[cluster];
    }
    means[static_cast<std::size_t>(replicate)] = sum / count;
  });
  return means;
}

}  // namespace rluf
