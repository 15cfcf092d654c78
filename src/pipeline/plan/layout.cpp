#include "rluf/pipeline/plan/layout.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/parallel/process_grid.hpp"

namespace rluf {
namespace {

std::int64_t product(const std::vector<std::int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t first_part(std::int64_t rows, std::int64_t parts) {
  return shard_range(rows, static_cast<int>(parts), 0).count();
}

/// Shape of one parameter on the first rank of the tensor axis.
std::vector<std::int64_t> tensor_local_shape(const std::string& name, std::vector<std::int64_t> shape,
                                             std::int64_t tensor) {
  if (const int dim = tensor_split_dim(name); dim >= 0) {
    std::int64_t& extent = shape[static_cast<std::size_t>(dim)];
    extent = first_part(extent, tensor);
  }
  return shape;
}

bool divides(std::int64_t parts, const LlamaConfig& config) {
  return config.num_kv_heads % parts == 0 && config.intermediate_size % parts == 0;
}

}  // namespace

std::string PlanLayout::text() const {
  return concat("data ", data(), " x shard ", shard, " x tensor ", tensor, ", zero ", zero, ", recompute ",
                name_of(recompute), reduces_bf16 ? ", gradients travel in bf16" : "",
                optimizer_on_host ? ", optimizer on the host" : "");
}

const char* name_of(Axis axis) {
  constexpr const char* names[] = {"tensor", "shard", "data", "replicas"};
  return names[static_cast<int>(axis)];
}

std::int64_t size_of(const PlanLayout& layout, Axis axis) {
  if (axis == Axis::kTensor) return layout.tensor;
  if (axis == Axis::kShard) return layout.shard;
  return axis == Axis::kData ? layout.data() : layout.replicas();
}

std::int64_t ranks_on_node(const PlanLayout& layout, Axis axis) {
  const std::int64_t stride = axis == Axis::kTensor ? 1
                              : axis == Axis::kData ? layout.tensor * layout.shard
                                                    : layout.tensor;
  return std::clamp<std::int64_t>(layout.ranks_per_node / stride, 1, size_of(layout, axis));
}

ElementCounts element_counts(const LlamaConfig& config, const PlanLayout& layout, std::int64_t trainable_layers) {
  ElementCounts counts;
  std::int64_t in_bucket = 0;
  for (const auto& [name, whole] : parameter_shapes(config)) {
    const auto shape = tensor_local_shape(name, whole, layout.tensor);
    const std::int64_t row = product(shape) / shape[0], own_rows = first_part(shape[0], layout.shard);
    counts.parameters += 1;
    counts.local += shape[0] * row;
    counts.own += own_rows * row;
    if (name == "model.embed_tokens.weight") counts.embedding = shape[0] * row;
    if (shape.size() == 2 && name != "score.weight") counts.matrices += shape[0] * row;
    if (!is_trained(name, config, trainable_layers)) continue;
    const std::int64_t summed_rows = layout.divides_gradients() ? own_rows : shape[0];
    counts.trained_parameters += 1;
    counts.trained_local += shape[0] * row;
    counts.trained_own += own_rows * row;
    counts.trained_moments +=
        first_part(summed_rows, layout.divides_gradients() ? layout.data() : layout.replicas()) * row;
    if (in_bucket == 0) counts.buckets += 1;
    in_bucket += summed_rows * row;
    if (in_bucket >= kBucketElements) in_bucket = 0;
  }
  return counts;
}

std::vector<PlanLayout> all_layouts(std::int64_t ranks, std::int64_t ranks_per_node,
                                    const std::vector<LlamaConfig>& models) {
  std::vector<PlanLayout> layouts;
  for (std::int64_t tensor = 1; tensor <= std::min(ranks, ranks_per_node); ++tensor) {
    if (ranks % tensor != 0 || ranks_per_node % tensor != 0) continue;
    if (!std::all_of(models.begin(), models.end(), [&](const LlamaConfig& config) { return divides(tensor, config); }))
      continue;
    for (std::int64_t shard = 1; shard * tensor <= ranks; ++shard) {
      if (ranks % (shard * tensor) != 0) continue;
      for (std::int64_t zero = 1; zero <= (shard > 1 ? 3 : 1); ++zero)
        for (const Recompute kind : {Recompute::kNone, Recompute::kSelective, Recompute::kLayers})
          layouts.push_back({ranks, ranks_per_node, shard, tensor, zero, kind});
    }
  }
  return layouts;
}

void check_plan_layout(const PlanLayout& layout, const std::vector<LlamaConfig>& models) {
  if (layout.ranks % (layout.shard * layout.tensor) != 0)
    fail_input(concat("parallel.shard x parallel.tensor = ", layout.shard, " x ", layout.tensor, " does not divide ",
                      layout.ranks, " ranks"),
               "every rank needs a place in the grid", "change one of them or plan.ranks");
  for (const LlamaConfig& config : models)
    if (!divides(layout.tensor, config))
      fail_input(concat("parallel.tensor = ", layout.tensor, " does not divide ", config.num_kv_heads,
                        " key/value heads and a feed-forward width of ", config.intermediate_size),
                 "the tensor axis splits both", "use a divisor of them");
}

}  // namespace rluf
