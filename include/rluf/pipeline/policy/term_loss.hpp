#pragma once
/// The losses of policy training on documents, for train_step.
#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "rluf/model/generation.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"

namespace rluf {

/// Gets the log-probabilities of a document's response tokens as the loss saw them. @shape [response tokens]
using LogProbObserver = std::function<void(std::size_t document, std::span<const float> log_probs)>;

/// Loss of chosen documents: the sum of coefficients[i] * log pi(documents[i]), for train_step.
LossFunction weighted_log_prob_loss(const std::vector<Document>& documents, const std::vector<double>& coefficients,
                                    const LogProbObserver& observe = {});

/// A term with its responses: one, or the chosen and the rejected one.
struct TrainedTerm {
  double weight = 1, scale = 1;
  std::vector<Document> documents;
  std::vector<const Sample*> drawn;  ///< of each document; null for a_bar. Clipped forms need its log_probs.

  std::int64_t num_tokens() const;
};

/// Loss of terms, whose positions are the examples: the sum of scale * (what its form says). Documents are counted
/// through for `observe`, term by term. Where a form needs the reference's log-probabilities, it passes through the
/// reference too. All arguments must outlive the result.
LossFunction term_loss(LossForm form, const std::vector<TrainedTerm>& terms, const PolicyOptions& options,
                       const Llama& reference, const LogProbObserver& observe = {});

/// Loss of offline pairs: the sum over the examples of -log sigma(beta margin), with sums of `accuracy` (margin above
/// 0) and `margin`. `documents` gives the chosen and the rejected answer of each example, in turn.
LossFunction offline_dpo_loss(
    const std::function<std::vector<Document>(const std::vector<std::int64_t>& examples)>& documents, double beta,
    const Llama& reference);

}  // namespace rluf
