#include "rluf/pipeline/evaluation/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Candidates by falling mean; ties go to the earlier one.
std::vector<std::size_t> order_of(const std::vector<double>& means) {
  std::vector<std::size_t> order(means.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return means[a] > means[b] || (means[a] == means[b] && a < b); });
  return order;
}

/// Between which candidates' absence the correlation moves.
std::string leave_one_out_sentence(const nlohmann::json& without) {
  const nlohmann::json *lowest = nullptr, *highest = nullptr;
  for (const nlohmann::json& row : without) {
    if (!row["pearson"].is_number()) continue;
    if (!lowest || row["pearson"] < (*lowest)["pearson"]) lowest = &row;
    if (!highest || row["pearson"] > (*highest)["pearson"]) highest = &row;
  }
  if (!lowest) return "too few candidates to leave one out";
  const auto part = [](const nlohmann::json& row) {
    char r[16];
    std::snprintf(r, sizeof r, "%.3f", row["pearson"].get<double>());
    return concat(r, " (without ", row["without"].get<std::string>(), ")");
  };
  return concat("leaving one candidate out, r lies between ", part(*lowest), " and ", part(*highest));
}

}  // namespace

Interval fisher_interval(double r, std::int64_t n, double confidence) {
  if (n < 4 || !std::isfinite(r)) return {r, kNaN, kNaN};
  if (std::abs(r) >= 1) return {r, r, r};
  const double half = normal_quantile(0.5 + confidence / 2) / std::sqrt(static_cast<double>(n - 3));
  return {r, std::tanh(std::atanh(r) - half), std::tanh(std::atanh(r) + half)};
}

double spearman(std::span<const double> x, std::span<const double> y) {
  return pearson(average_ranks(x), average_ranks(y));
}

std::vector<Standing> compare_candidates(const std::vector<std::vector<double>>& values, std::int64_t num_replicates,
                                         std::uint64_t seed, std::span<const std::int64_t> clusters) {
  const std::size_t num_prompts = values.empty() ? 0 : values[0].size();
  RLUF_ASSERT(clusters.empty() || clusters.size() == num_prompts);
  const std::size_t num_clusters =
      clusters.empty() ? num_prompts
                       : static_cast<std::size_t>(*std::max_element(clusters.begin(), clusters.end())) + 1;
  std::vector<ClusterSums> sums;
  for (const auto& row : values) {
    RLUF_ASSERT(row.size() == num_prompts);
    ClusterSums& sum =
        sums.emplace_back(ClusterSums{std::vector<double>(num_clusters, 0.0), std::vector<double>(num_clusters, 0.0)});
    for (std::size_t i = 0; i < num_prompts; ++i) {
      const std::size_t cluster = clusters.empty() ? i : static_cast<std::size_t>(clusters[i]);
      sum.numerators[cluster] += row[i];
      sum.denominators[cluster] += 1;
    }
  }
  return compare_ratios_of_clusters(sums, num_replicates, seed);
}

std::vector<Standing> compare_ratios_of_clusters(const std::vector<ClusterSums>& candidates,
                                                 std::int64_t num_replicates, std::uint64_t seed) {
  const std::size_t num_candidates = candidates.size();
  if (num_candidates == 0) return {};
  const std::size_t num_clusters = candidates[0].numerators.size();
  RLUF_ASSERT(num_clusters > 0);
  const auto sum_of = [](const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
  };
  std::vector<double> means;
  for (const ClusterSums& sums : candidates) {
    RLUF_ASSERT(sums.numerators.size() == num_clusters && sums.denominators.size() == num_clusters);
    means.push_back(sum_of(sums.numerators) / sum_of(sums.denominators));
  }
  const auto order = order_of(means);
  const std::size_t best = order[0];

  // A single cluster has no spread to resample.
  const std::int64_t replicates = num_clusters < 2 ? 0 : num_replicates;
  std::vector<std::vector<double>> resampled(num_candidates), differences(num_candidates), places(num_candidates);
  std::vector<double> firsts(num_candidates, 0.0), counts(num_clusters), now(num_candidates);
  for (std::int64_t replicate = 0; replicate < replicates; ++replicate) {
    RandomStream random(seed, Purpose::kBootstrap, static_cast<std::uint64_t>(replicate));
    std::fill(counts.begin(), counts.end(), 0.0);
    for (std::size_t draw = 0; draw < num_clusters; ++draw) counts[random.below(num_clusters)] += 1;
    for (std::size_t c = 0; c < num_candidates; ++c) {
      const double weight = std::inner_product(counts.begin(), counts.end(), candidates[c].denominators.begin(), 0.0);
      const double sum = std::inner_product(counts.begin(), counts.end(), candidates[c].numerators.begin(), 0.0);
      now[c] = weight > 0 ? sum / weight : 0;  // none of its clusters was drawn
    }
    const auto now_order = order_of(now);
    firsts[now_order[0]] += 1;
    for (std::size_t place = 0; place < num_candidates; ++place)
      places[now_order[place]].push_back(static_cast<double>(place + 1));
    for (std::size_t c = 0; c < num_candidates; ++c) {
      resampled[c].push_back(now[c]);
      differences[c].push_back(now[c] - now[best]);
    }
  }

  std::vector<Standing> standings(num_candidates);
  for (std::size_t place = 0; place < num_candidates; ++place) {
    const std::size_t c = order[place];
    Standing& standing = standings[c];
    standing.place = static_cast<std::int64_t>(place + 1);
    standing.mean = percentile_interval(means[c], std::move(resampled[c]));
    standing.difference_to_best = percentile_interval(means[c] - means[best], std::move(differences[c]));
    const Interval interval = percentile_interval(static_cast<double>(standing.place), std::move(places[c]));
    standing.place_low = interval.low;
    standing.place_high = interval.high;
    standing.share_best = replicates > 0 ? firsts[c] / static_cast<double>(replicates) : kNaN;
  }
  return standings;
}

std::string agreement_sentence(const Interval& pearson, std::int64_t n) {
  if (n < 4)
    return concat("insufficient n: ", n, " candidates with a known online rate; an interval of r needs at least 4");
  if (!std::isfinite(pearson.value)) return "undefined: all candidates have the same offline or online value";
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, "r = %.3f [%.3f, %.3f], n = %lld", pearson.value, pearson.low, pearson.high,
                static_cast<long long>(n));
  if (pearson.low > 0) return concat("offline and online ranking agree: ", numbers);
  if (pearson.high < 0) return concat("offline and online ranking disagree: ", numbers);
  return concat("insufficient n to tell whether offline and online agree (the interval holds 0): ", numbers);
}

std::vector<double> leave_one_out(std::span<const double> x, std::span<const double> y) {
  std::vector<double> correlations;
  for (std::size_t left = 0; x.size() >= 4 && left < x.size(); ++left) {
    std::vector<double> some_x(x.begin(), x.end()), some_y(y.begin(), y.end());
    some_x.erase(some_x.begin() + static_cast<std::ptrdiff_t>(left));
    some_y.erase(some_y.begin() + static_cast<std::ptrdiff_t>(left));
    correlations.push_back(pearson(some_x, some_y));
  }
  return correlations;
}

nlohmann::json offline_online_agreement(std::span<const double> offline, std::span<const double> online,
                                        std::span<const std::string> names) {
  const auto n = static_cast<std::int64_t>(offline.size());
  RLUF_ASSERT(names.size() == offline.size() && names.size() == online.size());
  const Interval r = fisher_interval(pearson(offline, online), n);
  const double rho = spearman(offline, online);
  nlohmann::json without = nlohmann::json::array();
  const auto correlations = leave_one_out(offline, online);
  for (std::size_t i = 0; i < correlations.size(); ++i)
    without.push_back({{"without", names[i]}, {"pearson", number_or_null(correlations[i])}});
  return {{"n", n},
          {"pearson", r.to_json()},
          {"interval", "Fisher's z, 95 %"},
          {"spearman", number_or_null(rho)},
          {"sentence", agreement_sentence(r, n)},
          {"leave_one_out", without},
          {"leave_one_out_sentence", leave_one_out_sentence(without)}};
}

}  // namespace rluf
