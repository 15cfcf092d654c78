#pragma once
/// Memory of one rank by kind, as the training loop, the scoring passes and generation hold it.
#include <vector>

#include "rluf/pipeline/plan/machine.hpp"
#include "rluf/pipeline/plan/model_on_layout.hpp"
#include "rluf/pipeline/plan/model_work.hpp"

namespace rluf {

/// What stays from step to step, and what stands besides it while a step runs. @unit bytes
struct Memory {
  Quantity lasting;   ///< weights, moments
  Quantity backward;  ///< gradients, activations, gathered weights and logits at the end of a forward pass
  Quantity update;    ///< gradients while AdamW steps
  Quantity saving;    ///< the embedding, gathered to be written
  Quantity besides;   ///< the largest of these three
  Quantity peak;      ///< lasting + besides
  Quantity in_host;   ///< moments and master weights in the memory of the device's host
  std::vector<Figure> figures;
};

/// Bytes of one layer's activations for one token on a rank. What of a layer the backward pass needs: the two norms'
/// inputs and factors in float32; their outputs, queries, keys, values, attention's output and log-sums, gate, up,
/// silu(gate) and the product in the compute type; with adapters what goes from A to B. selective keeps of the
/// feed-forward part its input only; layers keeps the layer's input only.
Quantity layer_activation_bytes(const ModelOnLayout& model, Recompute kind);
/// The slice of logits that stands in memory at once, with what it is made of or into, both float32. @unit bytes
Quantity logits_bytes(const ModelOnLayout& model, const Quantity& rows);
/// Keys and values of one token. @unit bytes
Quantity cache_bytes_per_token(const ModelOnLayout& model);

Memory training_memory(const ModelOnLayout& model, const PlanLayout& layout, const Workload& load, bool reproducible);
/// Besides the weights: one layer's activations, gathered layers, logits. @unit bytes
Quantity forward_bytes(const ModelOnLayout& model, const PlanLayout& layout, const Workload& load);

}  // namespace rluf
