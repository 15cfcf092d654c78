#include "rluf/pipeline/plan/memory.hpp"

#include <algorithm>

namespace rluf {
namespace {

constexpr double kFloatBytes = 4, kFixedPointBytes = 8;
constexpr double kCacheBytes = 4;  ///< the decoders' caches are float32

/// Gathered weights of the layers: of one part in use, and as the packed buffer that it comes from; of the layers that
/// are on their way.
Quantity gathered_weights(const ModelOnLayout& m, const PlanLayout& layout) {
  const Quantity ahead("ahead", static_cast<double>(layout.gather_ahead));
  return 2 * m.block + min(ahead, m.shape.L - 1) * (m.shape.layer_matrices / m.tensor + m.layer_adapters);
}

/// Copies of weights in the compute type, or gathered ones, that stand at the end of a forward pass: always the head;
/// of what is not gathered what the trained layers multiplied by, which autograd keeps without recomputation, and the
/// part in use.
Quantity typed_weights(const ModelOnLayout& m, const PlanLayout& layout) {
  if (layout.divides_weights()) return m.compute_bytes * (m.head + gathered_weights(m, layout));
  if (m.compute_bytes.value() == kFloatBytes) return 0;
  const Quantity kept = layout.recompute == Recompute::kNone ? m.shape.layer_matrices / m.tensor + m.layer_adapters
                        : layout.recompute == Recompute::kSelective
                            ? m.shape.attention_matrices / m.tensor + m.attention_adapters
                            : Quantity(0);
  return m.compute_bytes * (m.trained_layers * kept + m.head + m.block);
}

/// Gradients that stand before they are added to their sums: all of them, or where they travel as they appear the
/// head's (for a language model, when most activations are still there), packed and as what travels; for a scoring
/// model, or adapters, a part's, with those of the part before it on their way.
Quantity fresh_gradients(const ModelOnLayout& m, const PlanLayout& layout) {
  if (!layout.divides_gradients()) return kFloatBytes * m.trained_local;
  const bool part_by_part = m.has_adapters() || m.config.num_scores > 0;
  const Quantity one = m.has_adapters() ? max(m.attention_adapters, m.feed_forward_adapters)
                       : part_by_part   ? m.block
                                        : m.head;
  return (2 * kFloatBytes + (part_by_part ? 2.0 : 1.0) * m.travel_bytes) * one;
}

}  // namespace

Quantity layer_activation_bytes(const ModelOnLayout& m, Recompute kind) {
  const ShapeSymbols& s = m.shape;
  if (kind == Recompute::kLayers) return kFloatBytes * s.D;
  const Quantity state = kFloatBytes * s.D;
  const Quantity heads = (2 * m.compute_bytes * s.K * (s.H + s.G) + kFloatBytes * s.H) / m.tensor;
  const bool gains_trained = !m.has_adapters();
  const Quantity norm =
      m.compute_bytes * s.D + kFloatBytes + (m.keeps_normalised && gains_trained ? state : Quantity(0));
  const Quantity between = m.compute_bytes * m.rank;  // an adapter's two products
  if (kind == Recompute::kSelective) return 2 * state + norm + heads + 4 * between;
  return 2 * state + 2 * norm + heads + 4 * m.compute_bytes * s.F / m.tensor + 7 * between;
}

Quantity logits_bytes(const ModelOnLayout& m, const Quantity& rows) {
  if (m.config.num_scores > 0) return 0;
  const Quantity words = ceil(m.shape.V / m.tensor);
  return 2 * kFloatBytes * words * min(rows, max(16, floor(16777216 / words)));
}

Quantity cache_bytes_per_token(const ModelOnLayout& m) {
  return 2 * m.shape.L * m.shape.G * m.shape.K * kCacheBytes / m.tensor;
}

Memory training_memory(const ModelOnLayout& m, const PlanLayout& layout, const Workload& load, bool reproducible) {
  const Quantity& summed = layout.divides_gradients() ? m.trained_own : m.trained_local;
  const Quantity weights = (kFloatBytes * (layout.divides_weights() ? m.own : m.local)).as("m_weights");
  const bool on_host = layout.optimizer_on_host;
  const Quantity moments = (on_host ? Quantity(0) : 2 * kFloatBytes * m.moments).as("m_moments");
  const Quantity typed = typed_weights(m, layout).as("m_typed");
  const Quantity sums = (m.sum_bytes * summed).as("m_sums");
  const Quantity fresh = fresh_gradients(m, layout).as("m_fresh");
  const bool travels = layout.divides_gradients() ? layout.data() > 1 : layout.replicas() > 1;
  const Quantity step = (reproducible || travels ? kFloatBytes * m.moments : Quantity(0)).as("m_step");
  const Quantity layer = layer_activation_bytes(m, layout.recompute).as("a_layer");
  const Quantity kept = (load.tokens * m.trained_layers * layer).as("m_layers");
  const Quantity again =
      (layout.recompute == Recompute::kNone ? Quantity(0) : load.tokens * layer_activation_bytes(m, Recompute::kNone))
          .as("m_again");
  const Quantity ends =
      (load.tokens * m.shape.D * (kFloatBytes + m.compute_bytes) + load.rows * m.shape.D * m.compute_bytes)
          .as("m_ends");
  const Quantity logits = logits_bytes(m, load.rows).as("m_logits");
  const Quantity buffers = (layout.tensor > 1 ? kFloatBytes * load.tokens * m.shape.D : Quantity(0)).as("m_buffers");
  Memory memory;
  memory.in_host = (on_host ? 3 * kFloatBytes * m.moments : Quantity(0)).as("m_optimizer_host");
  memory.lasting = (weights + moments).as("m_lasting");
  memory.backward = (typed + sums + fresh + kept + again + ends + logits + buffers).as("m_backward");
  memory.update = (sums + step).as("m_update");
  // As weights are written, one after the other: those of a shard axis, joined along the tensor axis.
  memory.saving = (layout.divides_weights() ? kFloatBytes * (m.shape.embedding + m.embedding)
                   : layout.tensor > 1      ? kFloatBytes * m.shape.embedding
                                            : Quantity(0))
                      .as("m_save");
  memory.besides = max(max(memory.backward, memory.update), memory.saving);
  memory.peak = (memory.lasting + memory.besides).as("m_peak");
  memory.figures = {{"master weights, float32", weights, "B"},
                    {"AdamW's two moments, float32", moments, "B"},
                    {"weights in the compute type or gathered", typed, "B"},
                    {"sums of gradients", sums, "B"},
                    {"gradients before they are added up", fresh, "B"},
                    {"gradients in float32 while AdamW steps", step, "B"},
                    {"a token's activations in a layer", layer, "B"},
                    {"activations kept for the backward pass", kept, "B"},
                    {"activations of a layer computed again", again, "B"},
                    {"activations before and after the layers", ends, "B"},
                    {"logits of a slice, with their gradient", logits, "B"},
                    {"buffer of the tensor axis", buffers, "B"},
                    {"lasting", memory.lasting, "B"},
                    {"besides, in the backward pass", memory.backward, "B"},
                    {"besides, while AdamW steps", memory.update, "B"},
                    {"besides, while the embedding is gathered to be saved", memory.saving, "B"},
                    {"peak of training", memory.peak, "B"}};
  if (on_host) memory.figures.push_back({"moments and master weights in the host's memory", memory.in_host, "B"});
  return memory;
}

Quantity forward_bytes(const ModelOnLayout& m, const PlanLayout& layout, const Workload& load) {
  const Quantity weights = layout.divides_weights() ? gathered_weights(m, layout) : 1 * m.block;
  const Quantity layers =
      m.compute_bytes * (weights + m.head) +
      load.tokens * (layer_activation_bytes(m, Recompute::kNone) + m.shape.D * (kFloatBytes + m.compute_bytes)) +
      logits_bytes(m, load.rows);
  // The embedding is gathered in float32, before everything else.
  return layout.divides_weights() ? max(layers, 2 * kFloatBytes * m.embedding) : layers;
}

}  // namespace rluf
