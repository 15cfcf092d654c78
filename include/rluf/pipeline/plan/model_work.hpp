#pragma once
/// Floating-point operations of a pass over packed documents. A product of [m, k] and [k, n] counts 2 m k n.
#include <cstdint>
#include <span>
#include <vector>

#include "rluf/pipeline/plan/model_on_layout.hpp"

namespace rluf {

/// What a micro-batch holds. `pairs`: (query, key) pairs under the causal mask, the sum of l (l + 1) / 2 over documents
/// of l tokens; `rows`: positions whose next token has a log-probability.
struct Workload {
  Quantity documents, tokens, pairs, rows;
  Quantity tokens_each = 0, rows_each = 0;  ///< means, where they are what is known
  static Workload of(std::span<const std::int64_t> lengths, std::int64_t rows);
  /// Documents of one length each.
  static Workload of_means(const Quantity& documents, const Quantity& tokens_each, const Quantity& rows_each);
  std::vector<Figure> figures() const;
};

/// Operations of one micro-batch, all ranks of its tensor group together.
struct Work {
  Quantity matrices, attention;  ///< that are executed, in matrix products of weights and in attention
  Quantity useful;               ///< forward and twice that backward, nothing computed again: what MFU counts
  std::vector<Figure> figures;
};

/// Forward and backward. The attention's backward pass computes the scores again (five products for two), so does the
/// head with its logits. Beside adapters a matrix takes no gradient, and in the first layer that has them its input
/// takes none. @source FlashAttention (arXiv 2205.14135) for the five products
Work training_work(const ModelOnLayout& model, const Workload& load, Recompute recompute);
/// Forward only, for scores or log-probabilities.
Work forward_work(const ModelOnLayout& model, const Workload& load);

}  // namespace rluf
