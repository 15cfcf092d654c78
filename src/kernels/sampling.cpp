#include "rluf/kernels/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "rluf/core/error.hpp"
#include "rows.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

using simd::kLanes;
using simd::Lanes;
constexpr std::int64_t kFew = 1;

/// Highest logit first, the lower id first among equals.
struct ByLogit {
  const float* logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  }
};

constexpr std::int64_t kBlock = 256;  ///< ids whose weights are added up in float32 before they join the double sum

RLUF_SIMD float largest_of(const float* row, std::int64_t count) {
  const std::int64_t whole = count - count % kLanes;
  float top = row[0];
  if (whole > 0) {
    Lanes largest, values;
    simd::load(largest, row);
    for (std::int64_t i = kLanes; i < whole; i += kLanes) {
      simd::load(values, row + i);
      largest = values > largest ? values : largest;
    }
    for (std::int64_t i = 0; i < kLanes; ++i) top = std::max(top, largest[i]);
  }
  for (std::int64_t i = whole; i < count; ++i) top = std::max(top, row[i]);
  return top;
}

/// exp((logit - largest) * inverse_temperature) of every id, and their sums a block.
RLUF_SIMD void fill_weights(const float* row, std::int64_t count, float largest, float inverse_temperature,
                            float* weights, double* block_sums) {
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t last = std::min(count, first + kBlock);
    Lanes sum = {};
    for (std::int64_t i = first; i < last; i += kLanes) {
      Lanes values = Lanes{} - std::numeric_limits<float>::infinity();
      simd::load(values, row + i, last - i);
      values = (values - largest) * inverse_temperature;
      simd::exponential(values);
      sum += values;
      simd::store(values, weights + i, last - i);
    }
    block_sums[first / kBlock] = simd::sum(sum);
  }
}

/// A row's weights at some temperature. Their order of summation is fixed, so no number depends on threads.
struct Weights {
  std::vector<float> of_id;
  std::vector<double> block_sums;
  double total = 0;

  void fill(std::span<const float> row, float largest, double temperature) {
    of_id.resize(row.size());
    block_sums.resize((row.size() + kBlock - 1) / kBlock);
    fill_weights(row.data(), static_cast<std::int64_t>(row.size()), largest, static_cast<float>(1.0 / temperature),
                 of_id.data(), block_sums.data());
    total = std::accumulate(block_sums.begin(), block_sums.end(), 0.0);
  }
  /// Fills the weights at temperature 1. @return log(sum of exp(logit)); not finite if a logit is NaN or all are -inf
  double fill_log_sum(std::span<const float> row, float largest) {
    fill(row, largest, 1.0);
    return static_cast<double>(largest) + std::log(total);
  }
};

/// First id at which the running sum passes uniform * total; the last id with weight in its block guards against
/// rounding.
std::int32_t draw_uncut(const Weights& weights, double uniform) {
  const double target = uniform * weights.total;
  double sum = 0;
  std::size_t block = 0, last = weights.block_sums.size() - 1;
  while (weights.block_sums[last] <= 0) --last;
  while (block < last && sum + weights.block_sums[block] <= target) sum += weights.block_sums[block++];
  std::size_t found = block * kBlock;
  for (std::size_t id = found; id < std::min(weights.of_id.size(), (block + 1) * kBlock); ++id) {
    if (weights.of_id[id] <= 0) continue;
    sum += weights.of_id[id];
    found = id;
    if (sum > target) break;
  }
  return static_cast<std::int32_t>(found);
}

/// First id at which the running sum of weights passes uniform * total; the last id with weight guards against
/// rounding.
template <class Ids, class Weight>
std::int32_t inverse_cdf(const Ids& ids, const Weight& weight, double total, double uniform) {
  double sum = 0;
  std::int32_t last = ids.front();
  for (const std::int32_t id : ids) {
    const double mass = weight(id);
    if (mass <= 0) continue;
    sum += mass;
    last = id;
    if (sum > uniform * total) return id;
  }
  return last;
}

std::int32_t draw_cut(std::span<const float> row, double uniform, const SamplingOptions& options, float largest) {
  const auto vocab_size = static_cast<std::int32_t>(row.size());
  const double inverse = 1.0 / options.temperature;
  const auto weight = [&](std::int32_t id) {
    return std::exp(static_cast<double>(row[static_cast<std::size_t>(id)] - largest) * inverse);
  };
  thread_local std::vector<std::int32_t> ids;
  ids.resize(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  if (options.top_k > 0 && options.top_k < vocab_size) {
    std::nth_element(ids.begin(), ids.begin() + options.top_k, ids.end(), ByLogit{row.data()});
    ids.resize(static_cast<std::size_t>(options.top_k));
  }
  if (options.top_p < 1.0) {
    std::sort(ids.begin(), ids.end(), ByLogit{row.data()});
    double total = 0, kept = 0;
    for (const std::int32_t id : ids) total += weight(id);
    std::size_t count = 0;
    while (count < ids.size() && (count == 0 || kept < options.top_p * total)) kept += weight(ids[count++]);
    ids.resize(count);
  }
  std::sort(ids.begin(), ids.end());  // the order of ids, whatever cut them
  double total = 0;
  for (const std::int32_t id : ids) total += weight(id);
  return inverse_cdf(ids, weight, total, uniform);
}

void check_rows(std::size_t num_logits, std::int64_t vocab_size, std::size_t num_rows) {
  RLUF_ASSERT(vocab_size > 0 && num_logits == num_rows * static_cast<std::size_t>(vocab_size));
}

/// NaN or an infinite maximum would make every draw meaningless.
void check_finite(const std::vector<char>& bad) {
  const auto found = std::find(bad.begin(), bad.end(), 1);
  if (found != bad.end())
    fail_data(concat("the logits of row ", found - bad.begin(), " are not finite"), "no token can be drawn from them",
              "look for a diverged training run: its weights hold NaN or infinity");
}

}  // namespace

void sample_tokens(std::span<const float> logits, std::int64_t vocab_size, std::span<const double> uniforms,
                   const SamplingOptions& options, std::span<std::int32_t> tokens, std::span<float> log_probs) {
  check_rows(logits.size(), vocab_size, tokens.size());
  RLUF_ASSERT(uniforms.size() == tokens.size() && log_probs.size() == tokens.size());
  std::vector<char> bad(tokens.size(), 0);
  const auto V = static_cast<std::size_t>(vocab_size);
  for_rows("sample_tokens", static_cast<std::int64_t>(tokens.size()), kFew, [&](const std::int64_t row_number) {
    const auto r = static_cast<std::size_t>(row_number);
    const std::span<const float> row = logits.subspan(r * V, V);
    thread_local Weights weights;
    const float largest = largest_of(row.data(), vocab_size);
    const double log_sum = weights.fill_log_sum(row, largest);
    if (!std::isfinite(log_sum)) {
      bad[r] = 1;
      return;
    }
    if (options.temperature == 0) {
      tokens[r] = static_cast<std::int32_t>(std::find(row.begin(), row.end(), largest) - row.begin());
    } else if ((options.top_k > 0 && options.top_k < vocab_size) || options.top_p < 1.0) {
      tokens[r] = draw_cut(row, uniforms[r], options, largest);
    } else {
      if (options.temperature != 1) weights.fill(row, largest, options.temperature);
      tokens[r] = draw_uncut(weights, uniforms[r]);
    }
    log_probs[r] = static_cast<float>(static_cast<double>(row[static_cast<std::size_t>(tokens[r])]) - log_sum);
  });
  check_finite(bad);
}

void chosen_log_probs(std::span<const float> logits, std::int64_t vocab_size, std::span<const std::int64_t> targets,
                      std::span<float> out) {
  check_rows(logits.size(), vocab_size, targets.size());
  const auto V = static_cast<std::size_t>(vocab_size);
  for_rows("chosen_log_probs", static_cast<std::int64_t>(targets.size()), kFew, [&](const std::int64_t row_number) {
    const auto r = static_cast<std::size_t>(row_number);
    const std::span<const float> row = logits.subspan(r * V, V);
    thread_local Weights weights;
    const double log_sum = weights.fill_log_sum(row, largest_of(row.data(), vocab_size));
    out[r] = static_cast<float>(static_cast<double>(row[static_cast<std::size_t>(targets[r])]) - log_sum);
  });
}

}  // namespace rluf
