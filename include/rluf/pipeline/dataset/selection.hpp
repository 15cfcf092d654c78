#pragma once
/// Pure rules of which rows are trained on: chronological hold-out, balance of labels, keyed hashes.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

/// SipHash-2-4. @source Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012
std::uint64_t siphash(std::array<std::uint64_t, 2> key, std::string_view bytes);
/// 128-bit key of a passphrase.
std::array<std::uint64_t, 2> hash_key(const std::string& passphrase);

/// First row of the hold-out among rows sorted by time: about `share` of the rows, never parting equal timestamps
/// (rows as old as the border go to training). @return rows.size() if share is 0
std::int64_t holdout_begin(const std::vector<std::int64_t>& sorted_timestamps, double share);

/// How often each training row is written, so that the share of positives rises to `positive_rate`.
struct Balance {
  std::vector<std::int64_t> copies;  ///< of each row: 0 = dropped
  double natural_rate = 0, training_rate = 0;
  double prior_correction = 0;  ///< logit(natural) - logit(training), to ADD to a logit learned on the training rows
};
/// `method`: negative_keep (a random share of the negatives, drawn by RandomStream(seed, kSelection, 0, id)) or
/// positive_repeat (copies spread evenly over the positives). A target of 0 or below the natural rate changes nothing.
/// @throws std::logic_error unless both labels occur
Balance balance_labels(const std::vector<float>& labels, const std::vector<std::int64_t>& ids, double positive_rate,
                       const std::string& method, std::uint64_t seed);

/// ln(p / (1 - p)).
double log_odds(double p);

}  // namespace rluf
