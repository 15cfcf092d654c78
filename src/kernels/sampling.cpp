#include "rluf/kernels/sampling.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>;

/// Highest logit first, the lower id first among equals.
struct ByLogit {
  const float* logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  }
};

float largest_of(std::span<const float> row) { return *std::max_element(row.begin(), row.end()); }

/// log of the sum of exp(logit), summed in the order of ids in double so that it never depends on threads.
double log_sum_exp(std::span<const float> row, float largest) {
  double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<double>(logit - largest));
  return static_cast<double>(largest) + std::log(sum);
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

std::int32_t draw(std::span<const float> row, double uniform, const SamplingOptions& options, float largest) {
  const auto vocab_size = static_cast<std::int32_t>(row.size());
  if (options.temperature == 0)
    return static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
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

/// Without cuts no list of ids is needed: one pass for the total, one to find the token.
std::int32_t draw_uncut(std::span<const float> row, double uniform, double temperature, float largest) {
  const double inverse = 1.0 / temperature;
  thread_local std::vector<double> weights;
  weights.resize(row.size());
  double total = 0;
  for (std::size_t id = 0; id < row.size(); ++id) {
    weights[id] = std::exp(static_cast<double>(row[id] - largest) * inverse);
    total += weights[id];
  }
  double sum = 0;
  std::int32_t last = 0;
  for (std::size_t id = 0; id < row.size(); ++id) {
    if (weights[id] <= 0) continue;
    sum += weights[id];
    last = static_cast<std::int32_t>(id);
    if (sum > uniform * total) break;
  }
  return last;
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
  Kokkos::parallel_for(
      "sample_tokens", Policy(0, static_cast<std::int64_t>(tokens.size())), [&](const std::int64_t row_number) {
        const auto r = static_cast<std::size_t>(row_number);
        const std::span<const float> row = logits.subspan(r * V, V);
        const float largest = largest_of(row);
        const double log_sum = log_sum_exp(row, largest);
        if (!std::isfinite(log_sum)) {
          bad[r] = 1;
          return;
        }
        const bool cut =
            (options.top_k > 0 && options.top_k < vocab_size) || options.top_p < 1.0 || options.temperature == 0;
        tokens[r] =
            cut ? draw(row, uniforms[r], options, largest) : draw_uncut(row, uniforms[r], options.temperature, largest);
        log_probs[r] = static_cast<float>(static_cast<double>(row[static_cast<std::size_t>(tokens[r])]) - log_sum);
      });
  check_finite(bad);
}

void chosen_log_probs(std::span<const float> logits, std::int64_t vocab_size, std::span<const std::int64_t> targets,
                      std::span<float> out) {
  check_rows(logits.size(), vocab_size, targets.size());
  const auto V = static_cast<std::size_t>(vocab_size);
  Kokkos::parallel_for("chosen_log_probs", Policy(0, static_cast<std::int64_t>(targets.size())),
                       [&](const std::int64_t row_number) {
                         const auto r = static_cast<std::size_t>(row_number);
                         const std::span<const float> row = logits.subspan(r * V, V);
                         out[r] = static_cast<float>(static_cast<double>(row[static_cast<std::size_t>(targets[r])]) -
                                                     log_sum_exp(row, largest_of(row)));
                       });
}

}  // namespace rluf
