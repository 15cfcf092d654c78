#pragma once
/// How ranks, weights and work are divided: the choices that a plan compares.
#include <cstdint>
#include <string>
#include <vector>

#include "rluf/model/llama.hpp"

namespace rluf {

/// A process grid data x shard x tensor with the tensor axis innermost, and what the shard axis divides (ZeRO 1, 2, 3).
struct PlanLayout {
  std::int64_t ranks = 1, ranks_per_node = 1, shard = 1, tensor = 1, zero = 1;
  Recompute recompute = Recompute::kNone;
  bool reduces_bf16 = false, optimizer_on_host = false;
  std::int64_t gather_ahead = 1;
  std::int64_t replicas() const { return ranks / tensor; }  ///< tensor groups: each reads other examples
  std::int64_t data() const { return ranks / (tensor * shard); }
  bool divides_gradients() const { return zero >= 2 && shard > 1; }
  bool divides_weights() const { return zero >= 3 && shard > 1; }
  std::string text() const;  ///< "data 4 x shard 8 x tensor 8, zero 3, recompute layers"
};

enum class Axis { kTensor, kShard, kData, kReplicas };
const char* name_of(Axis axis);
std::int64_t size_of(const PlanLayout& layout, Axis axis);
/// Ranks of one group of the axis that share a node.
std::int64_t ranks_on_node(const PlanLayout& layout, Axis axis);

/// Elements of a model on the fullest rank (the first: shard_range gives the rest to the first ranks).
struct ElementCounts {
  std::int64_t local = 0;                               ///< after the tensor axis
  std::int64_t own = 0;                                 ///< rows of them after the shard axis
  std::int64_t trained_local = 0;                       ///< as local, trainable parameters only
  std::int64_t trained_own = 0;                         ///< as own
  std::int64_t trained_moments = 0;                     ///< AdamW's rows: divided over all ranks with other examples
  std::int64_t matrices = 0;                            ///< of local: what is cast to the compute type
  std::int64_t embedding = 0;                           ///< of local
  std::int64_t parameters = 0, trained_parameters = 0;  ///< how many tensors
  std::int64_t buckets = 0;                             ///< in which the sums of gradients travel at the end of a step
};
/// @source the division of rows in shard_range, of matrices by the tensor axis: query, key, value, gate, up, embedding
/// and head by rows, output and down by columns, norms and score heads on every rank
ElementCounts element_counts(const LlamaConfig& config, const PlanLayout& layout, std::int64_t trainable_layers = -1);

/// Every layout that `ranks` and the model's heads allow, in a fixed order.
std::vector<PlanLayout> all_layouts(std::int64_t ranks, std::int64_t ranks_per_node,
                                    const std::vector<LlamaConfig>& models);
/// @throws Error(kBadInput) for axes that do not divide the ranks, the heads or the feed-forward width
void check_plan_layout(const PlanLayout& layout, const std::vector<LlamaConfig>& models);

}  // namespace rluf
