#include "rluf/pipeline/plan/model_on_layout.hpp"

#include <algorithm>

namespace rluf {
namespace {

Quantity number(const char* symbol, std::int64_t value) { return {symbol, static_cast<double>(value)}; }

/// The formula of a count; where rows do not divide evenly, with what the fullest rank has more.
Quantity counted(const std::string& symbol, const Quantity& formula, std::int64_t exact) {
  const double more = static_cast<double>(exact) - formula.value();
  return more == 0 ? formula.as(symbol) : (formula + Quantity(more)).as(symbol);
}

}  // namespace

ModelOnLayout model_on(const LlamaConfig& config, const PlanLayout& layout, std::int64_t trainable_layers,
                       double compute_bytes, double sum_bytes) {
  const bool adapters = config.lora.rank > 0, all = trainable_layers<0, scores = config.num_scores> 0;
  const std::int64_t layers = adapters ? config.num_layers - config.lora.first_layer
                              : all    ? config.num_layers
                                       : std::min(trainable_layers, config.num_layers);
  ModelOnLayout m{.config = config,
                  .shape = shape_symbols(config),
                  .counts = element_counts(config, layout, trainable_layers),
                  .trains_embedding = all && !adapters,
                  .trains_head = scores || (!adapters && (all || !config.tie_word_embeddings)),
                  .trained_layers = number("L_trained", layers),
                  .compute_bytes = Quantity("c", compute_bytes),
                  .sum_bytes = Quantity("g", sum_bytes),
                  .travel_bytes = Quantity("w", layout.reduces_bf16 ? 2 : sum_bytes),
                  .tensor = number("T", layout.tensor)};
  const ShapeSymbols& s = m.shape;
  const Quantity &T = m.tensor, S = number("S", layout.shard), data = number("n_data", layout.data()),
                 replicas = number("replicas", layout.replicas());
  const Quantity none = 0, norms = 2 * s.D, split_head = scores ? none : s.head, score_head = scores ? s.head : none;
  m.embedding = counted("P_embedding_here", ceil(s.embedding / T), m.counts.embedding);
  m.head = (scores ? s.head : 1 * m.embedding).as("P_head_here");
  if (adapters) {
    m.rank = number("r_lora", config.lora.rank);
    m.attention_adapters = (m.rank * (4 * s.D + 2 * s.K * (s.H + s.G) / T)).as("p_lora_attention");
    m.feed_forward_adapters = (m.rank * (3 * s.D + 3 * s.F / T)).as("p_lora_feed_forward");
    m.layer_adapters = (m.attention_adapters + m.feed_forward_adapters).as("p_lora");
  }
  const Quantity all_adapters = m.trained_layers * m.layer_adapters;
  m.block = (adapters ? max(s.attention_matrices / T + m.attention_adapters,
                            s.feed_forward_matrices / T + m.feed_forward_adapters)
                      : max(s.attention_matrices, s.feed_forward_matrices) / T)
                .as("P_block");
  m.matrices = counted("P_matrices", ceil((s.embedding + s.L * s.layer_matrices + split_head) / T) + all_adapters,
                       m.counts.matrices);
  m.local = counted("P_local", m.matrices + s.L * norms + s.D + score_head, m.counts.local);
  m.own = counted("P_own", ceil(m.local / S), m.counts.own);
  m.trained_local = adapters ? counted("P_trained", all_adapters + score_head, m.counts.trained_local)
                    : all    ? (1 * m.local).as("P_trained")
                             : counted("P_trained",
                                       ceil((m.trained_layers * s.layer_matrices + split_head) / T) +
                                           m.trained_layers * norms + s.D + score_head,
                                       m.counts.trained_local);
  m.trained_own = counted("P_trained_own", ceil(m.trained_local / S), m.counts.trained_own);
  const Quantity formula = layout.divides_gradients() ? ceil(m.trained_own / data) : ceil(m.trained_local / replicas);
  m.moments = counted("P_moments", formula, m.counts.trained_moments);
  return m;
}

std::vector<Figure> ModelOnLayout::held_figures() const {
  std::vector<Figure> held;
  if (has_adapters())
    held = {{"rank of the adapters", rank},
            {"layers that have them", trained_layers},
            {"adapters of a layer's attention on a rank", attention_adapters},
            {"adapters of a layer's feed-forward part on a rank", feed_forward_adapters},
            {"adapters of a layer on a rank", layer_adapters}};
  const std::vector<Figure> counted = {{"matrices on a rank, after the tensor axis", matrices},
                                       {"all elements on a rank, after the tensor axis", local},
                                       {"a rank's rows of them, after the shard axis", own},
                                       {"the embedding on a rank", embedding},
                                       {"the head on a rank", head},
                                       {"the larger part of a layer on a rank: attention or feed-forward", block},
                                       {"bytes of an element in the compute type", compute_bytes}};
  held.insert(held.end(), counted.begin(), counted.end());
  return held;
}

std::vector<Figure> ModelOnLayout::figures() const {
  std::vector<Figure> all = held_figures();
  const std::vector<Figure> trained = {{"layers that the backward pass reaches", trained_layers},
                                       {"trained elements on a rank, after the tensor axis", trained_local},
                                       {"a rank's rows of them, after the shard axis", trained_own},
                                       {"AdamW's rows, divided over all ranks with other examples", moments},
                                       {"bytes of an element of a gradient sum", sum_bytes},
                                       {"bytes of an element of a gradient that travels", travel_bytes}};
  all.insert(all.end(), trained.begin(), trained.end());
  return all;
}

}  // namespace rluf
