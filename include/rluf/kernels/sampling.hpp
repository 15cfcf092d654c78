#pragma once
#include <cstdint>
#include <span>

namespace rluf {

struct SamplingOptions {
  double temperature = 1.0;  ///< 0: greedy
  double top_p = 1.0;        ///< smallest set of tokens of at least this probability
  std::int64_t top_k = 0;    ///< 0: all
};

/// Draws a token from each row of logits with the row's own uniform number, so that a draw does not depend on the rest
/// of the batch. Ties go to the lower token id. Greedy takes the largest logit.
/// @shape logits [num_rows, vocab_size], uniforms, tokens and log_probs [num_rows]
/// `log_probs`: log-probability of the drawn token under softmax(logits), i.e. at temperature 1 and without cuts.
void sample_tokens(std::span<const float> logits, std::int64_t vocab_size, std::span<const double> uniforms,
                   const SamplingOptions& options, std::span<std::int32_t> tokens, std::span<float> log_probs);

/// log softmax(logits)[target] of each row. @shape logits [num_rows, vocab_size], targets, out [num_rows]
void chosen_log_probs(std::span<const float> logits, std::int64_t vocab_size, std::span<const std::int64_t> targets,
                      std::span<float> out);

}  // namespace rluf
