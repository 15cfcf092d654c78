#include "rluf/pipeline/dataset/selection.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {

std::int64_t holdout_begin(const std::vector<std::int64_t>& mine, double share, const Communicator& comm) {
  const auto count = static_cast<std::int64_t>(mine.size());
  const std::int64_t all = comm.all_reduce(count), first = comm.exclusive_scan(count);
  const std::int64_t wanted = all - static_cast<std::int64_t>(std::llround(share * static_cast<double>(all)));
  if (wanted <= 0 || wanted >= all) return wanted;
  // The newest time of the training rows, known to the rank that holds the row.
  std::int64_t newest = std::numeric_limits<std::int64_t>::min();
  if (first < wanted && wanted <= first + count) newest = mine[static_cast<std::size_t>(wanted - 1 - first)];
  newest = comm.all_reduce(newest, Reduce::kMax);
  return comm.all_reduce(static_cast<std::int64_t>(std::upper_bound(mine.begin(), mine.end(), newest) - mine.begin()));
}

double log_odds(double p) { return std::log(p) - std::log1p(-p); }

std::vector<std::int64_t> balanced_copies(const std::vector<float>& labels, const std::vector<std::int64_t>& ids,
                                          const LabelCounts& counts, double positive_rate, const std::string& method,
                                          std::uint64_t seed) {
  RLUF_ASSERT(labels.size() == ids.size() && counts.positives > 0 && counts.negatives > 0);
  std::vector<std::int64_t> copies(labels.size(), 1);
  const auto positives = static_cast<double>(counts.positives), negatives = static_cast<double>(counts.negatives);
  if (positive_rate <= positives / (positives + negatives)) return copies;
  const double wanted_odds = positive_rate / (1.0 - positive_rate), keep = positives / (wanted_odds * negatives);
  const auto wanted = static_cast<std::int64_t>(std::llround(wanted_odds * negatives));
  std::int64_t seen = counts.positives_before;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool positive = labels[i] > 0.5f;
    if (method == "negative_keep" && !positive)
      copies[i] = RandomStream(seed, Purpose::kSelection, 0, static_cast<std::uint64_t>(ids[i])).uniform() < keep;
    if (method == "positive_repeat" && positive) {
      copies[i] = (seen + 1) * wanted / counts.positives - seen * wanted / counts.positives;
      ++seen;
    }
  }
  return copies;
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
