#include "rluf/pipeline/dataset/selection.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <ranges>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {

std::int64_t holdout_begin(std::int64_t count, const std::function<std::int64_t(std::int64_t)>& time_of, double share,
                           const Communicator& comm) {
  const std::int64_t all = comm.all_reduce(count), first = comm.exclusive_scan(count);
  const std::int64_t wanted = all - static_cast<std::int64_t>(std::llround(share * static_cast<double>(all)));
  if (wanted <= 0 || wanted >= all) return wanted;
  // The newest time of the training rows, known to the rank that holds the row.
  std::int64_t newest = std::numeric_limits<std::int64_t>::min(), num_older = 0;
  guarded(comm, [&] {
    if (first < wanted && wanted <= first + count) newest = time_of(wanted - 1 - first);
  });
  newest = comm.all_reduce(newest, Reduce::kMax);
  guarded(comm, [&] {
    num_older = *std::ranges::partition_point(std::views::iota(std::int64_t{0}, count),
                                              [&](std::int64_t i) { return time_of(i) <= newest; });
  });
  return comm.all_reduce(num_older);
}

double log_odds(double p) { return std::log(p) - std::log1p(-p); }

Balancer::Balancer(const LabelCounts& counts, double positive_rate, const std::string& method, std::uint64_t seed)
    : seed_(seed), seen_(counts.positives_before), positives_(counts.positives), wanted_(counts.positives) {
  RLUF_ASSERT(counts.positives > 0 && counts.negatives > 0);
  const auto positives = static_cast<double>(counts.positives), negatives = static_cast<double>(counts.negatives);
  if (positive_rate <= positives / (positives + negatives)) return;
  const double wanted_odds = positive_rate / (1.0 - positive_rate);
  if (method == "negative_keep") keep_ = positives / (wanted_odds * negatives);
  if (method == "positive_repeat") wanted_ = static_cast<std::int64_t>(std::llround(wanted_odds * negatives));
}

std::int64_t Balancer::copies(bool positive, std::int64_t id) {
  if (!positive) return RandomStream(seed_, Purpose::kSelection, 0, static_cast<std::uint64_t>(id)).uniform() < keep_;
  ++seen_;
  return seen_ * wanted_ / positives_ - (seen_ - 1) * wanted_ / positives_;
}

Balance balance_of(const LabelCounts& counts, std::int64_t written_positives, std::int64_t written_rows) {
  Balance balance;
  balance.natural_rate =
      static_cast<double>(counts.positives) / static_cast<double>(counts.positives + counts.negatives);
  balance.training_rate = static_cast<double>(written_positives) / static_cast<double>(written_rows);
  const bool changed = written_positives != counts.positives || written_rows != counts.positives + counts.negatives;
  if (changed && written_positives < written_rows)
    balance.prior_correction = log_odds(balance.natural_rate) - log_odds(balance.training_rate);
  return balance;
}

}  // namespace rluf
