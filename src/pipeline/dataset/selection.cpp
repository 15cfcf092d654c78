#include "rluf/pipeline/dataset/selection.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {
namespace {

void sip_round(std::array<std::uint64_t, 4>& v) {
  v[0] += v[1];
  v[1] = std::rotl(v[1], 13) ^ v[0];
  v[0] = std::rotl(v[0], 32);
  v[2] += v[3];
  v[3] = std::rotl(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = std::rotl(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = std::rotl(v[1], 17) ^ v[2];
  v[2] = std::rotl(v[2], 32);
}

}  // namespace

std::uint64_t siphash(std::array<std::uint64_t, 2> key, std::string_view bytes) {
  std::array<std::uint64_t, 4> v{key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
                                 key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull};
  const std::size_t whole = bytes.size() / 8 * 8;
  for (std::size_t i = 0; i <= whole; i += 8) {
    std::uint64_t word = 0;
    if (i < whole) {
      std::memcpy(&word, bytes.data() + i, 8);
    } else {
      if (bytes.size() > whole) std::memcpy(&word, bytes.data() + whole, bytes.size() - whole);
      word |= static_cast<std::uint64_t>(bytes.size()) << 56;
    }
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 4; ++i) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

std::array<std::uint64_t, 2> hash_key(const std::string& passphrase) {
  return {siphash({0, 0}, passphrase), siphash({1, 0}, passphrase)};
}

std::int64_t holdout_begin(const std::vector<std::int64_t>& sorted_timestamps, double share) {
  const auto n = static_cast<std::int64_t>(sorted_timestamps.size());
  std::int64_t first = n - static_cast<std::int64_t>(std::llround(share * static_cast<double>(n)));
  const auto time = [&](std::int64_t i) { return sorted_timestamps[static_cast<std::size_t>(i)]; };
  while (first > 0 && first < n && time(first) == time(first - 1)) ++first;
  return first;
}

double log_odds(double p) { return std::log(p) - std::log1p(-p); }

Balance balance_labels(const std::vector<float>& labels, const std::vector<std::int64_t>& ids, double positive_rate,
                       const std::string& method, std::uint64_t seed) {
  RLUF_ASSERT(labels.size() == ids.size());
  std::int64_t num_positive = 0;
  for (const float label : labels) num_positive += label > 0.5f;
  const auto num_negative = static_cast<std::int64_t>(labels.size()) - num_positive;
  RLUF_ASSERT(num_positive > 0 && num_negative > 0);
  const auto positives = static_cast<double>(num_positive), negatives = static_cast<double>(num_negative);
  Balance balance;
  balance.copies.assign(labels.size(), 1);
  balance.natural_rate = balance.training_rate = positives / (positives + negatives);
  if (positive_rate <= balance.natural_rate) return balance;
  const double wanted_odds = positive_rate / (1.0 - positive_rate);
  if (method == "negative_keep") {
    const double keep = positives / (wanted_odds * negatives);
    for (std::size_t i = 0; i < labels.size(); ++i)
      if (labels[i] <= 0.5f)
        balance.copies[i] =
            RandomStream(seed, Purpose::kSelection, 0, static_cast<std::uint64_t>(ids[i])).uniform() < keep;
  } else {
    const auto wanted = static_cast<std::int64_t>(std::llround(wanted_odds * negatives));
    std::int64_t seen = 0;
    for (std::size_t i = 0; i < labels.size(); ++i)
      if (labels[i] > 0.5f) {
        balance.copies[i] = (seen + 1) * wanted / num_positive - seen * wanted / num_positive;
        ++seen;
      }
  }
  double positive_rows = 0, rows = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    rows += static_cast<double>(balance.copies[i]);
    if (labels[i] > 0.5f) positive_rows += static_cast<double>(balance.copies[i]);
  }
  balance.training_rate = positive_rows / rows;
  if (positive_rows < rows) balance.prior_correction = log_odds(balance.natural_rate) - log_odds(balance.training_rate);
  return balance;
}

}  // namespace rluf
