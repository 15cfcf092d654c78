#include "rluf/model/layout.hpp"

#include <ATen/ATen.h>

#include "rluf/config/option_table.hpp"
#include "rluf/core/error.hpp"
#include "rluf/io/checkpoint.hpp"
#include "rluf/model/llama.hpp"

namespace rluf {

int tensor_split_dim(const std::string& name) {
  // Of an adapter only the side of its matrix that is split is split too.
  if (const auto adapter = name.find(".lora_"); adapter != std::string::npos) {
    const int dim = tensor_split_dim(name.substr(0, adapter));
    return dim == (name[adapter + 6] == 'A' ? 1 : 0) ? dim : -1;
  }
  for (const char* rows : {"embed_tokens", "lm_head", "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"})
    if (name.find(rows) != std::string::npos) return 0;
  for (const char* columns : {"o_proj", "down_proj"})
    if (name.find(columns) != std::string::npos) return 1;
  return -1;
}

void ParallelOptions::describe(OptionTable& table) {
  table.section("parallel", "The process grid and how a model lies on it: ranks = data x shard x tensor.");
  table.add("shard", &shard,
            {.text = "ranks with other examples that divide a model's state among them, as zero says",
             .unit = "ranks",
             .low = 1});
  table.add(
      "tensor", &tensor,
      {.text = "ranks with the same examples that share each matrix; a divisor of the models' heads and key/value "
               "heads, best inside of a node",
       .unit = "ranks",
       .low = 1});
  table.add(
      "zero", &zero,
      {.text = "what the shard axis divides. 1: AdamW's moments (always divided over all ranks with other "
               "examples); 2: gradients too; 3: weights too, which are gathered for each use and dropped after it",
       .low = 1,
       .high = 3});
  table.add("recompute", &recompute,
            {.text = "activations that backward computes again instead of keeping them: none; selective, which is each "
                     "layer's feed-forward part; layers, which keeps one tensor a layer",
             .choices = {"none", "selective", "layers"}});
  table.add("gather_ahead", &gather_ahead,
            {.text = "with zero = 3: layers whose weights are gathered while those before them are computed; 0: they "
                     "are waited for",
             .unit = "layers",
             .low = 0,
             .high = 64});
  table.add("gradient_reduction", &gradient_reduction,
            {.text = "type in which gradients travel between ranks, without run.reproducible (which sends 64-bit "
                     "integers): f32; bf16, half the bytes and 8 binary digits",
             .choices = {"f32", "bf16"}});
  table.add("optimizer_memory", &optimizer_memory,
            {.text = "where AdamW's moments and master weights stand and its step runs: on the device; on its host, "
                     "for models that leave no room on the device (gradients go down, new weights come up every step). "
                     "On a CPU both are the same",
             .choices = {"device", "host"}});
}

void ParallelOptions::check(bool reproducible) const {
  if (reproducible && gradient_reduction == "bf16")
    fail_input("parallel.gradient_reduction = bf16 with run.reproducible = true",
               "sums of rounded gradients depend on the number of ranks",
               "set run.reproducible = false, or parallel.gradient_reduction = f32");
}

const char* name_of(Recompute kind) {
  return kind == Recompute::kNone ? "none" : kind == Recompute::kSelective ? "selective" : "layers";
}

Recompute recompute_named(const std::string& name) {
  for (const Recompute kind : {Recompute::kNone, Recompute::kSelective, Recompute::kLayers})
    if (name == name_of(kind)) return kind;
  throw std::logic_error("no recomputation is called " + name);
}

LayoutPointer make_layout(const ParallelOptions& options, const ProcessGrid& grid) {
  return std::make_shared<Layout>(Layout{.grid = grid,
                                         .zero = options.zero,
                                         .recompute = recompute_named(options.recompute),
                                         .reduces_bf16 = options.gradient_reduction == "bf16",
                                         .optimizer_on_host = options.optimizer_memory == "host",
                                         .gather_ahead = options.gather_ahead});
}

const Communicator& replicas_of(const LayoutPointer& layout, const Communicator& comm) {
  return layout && layout->grid.tensor.size() > 1 ? layout->grid.replicas : comm;
}

const Communicator& twins_of(const Layout& layout) {
  return layout.divides_weights() ? layout.grid.data : layout.grid.replicas;
}

void check_layout(const LlamaConfig& config, const Layout& layout) {
  const int ranks = layout.grid.tensor.size();
  if (config.num_heads % ranks != 0 || config.num_kv_heads % ranks != 0)
    fail_input(concat("parallel.tensor = ", ranks, " does not divide the model's ", config.num_heads, " heads and ",
                      config.num_kv_heads, " key/value heads"),
               "each rank of the tensor axis computes whole heads",
               "choose a divisor of both, and more ranks on the shard or data axis");
}

Placement placement_of(const std::string& name, const std::vector<std::int64_t>& shape, const Layout* layout) {
  Placement placement{.shape = shape, .split_dim = -1, .split = {}, .local = shape, .shards = {}, .kept = {}};
  if (layout != nullptr && layout->grid.tensor.size() > 1) placement.split_dim = tensor_split_dim(name);
  if (placement.split_dim >= 0) {
    std::int64_t& extent = placement.local[static_cast<std::size_t>(placement.split_dim)];
    placement.split = shard_range(extent, layout->grid.tensor.size(), layout->grid.tensor.rank());
    extent = placement.split.count();
  }
  const std::int64_t num_rows = placement.local[0];
  placement.shards = shard_ranges(num_rows, layout != nullptr ? layout->grid.shard.size() : 1);
  placement.kept = layout != nullptr && layout->divides_weights()
                       ? placement.shards[static_cast<std::size_t>(layout->grid.shard.rank())]
                       : Range{0, num_rows};
  return placement;
}

Range Placement::kept_rows() const { return {rows_before() + kept.first, rows_before() + kept.last}; }

at::Tensor Placement::kept_columns(const at::Tensor& rows) const {
  return split_dim == 1 ? rows.narrow(1, split.first, split.count()) : rows;
}

at::Tensor Placement::kept_part(const at::Tensor& whole) const {
  return kept_columns(whole.narrow(0, kept_rows().first, kept.count()));
}

Range UpdateShare::mine() const {
  const Range part = shard_range(block.count(), axis.size(), axis.rank());
  return {block.first + part.first, block.first + part.last};
}

UpdateShare update_share(const Placement& placement, const LayoutPointer& layout, const Communicator& comm) {
  if (layout && layout->divides_gradients())
    return {layout->grid.data, placement.shards[static_cast<std::size_t>(layout->grid.shard.rank())]};
  return {replicas_of(layout, comm), {0, placement.local[0]}};
}

at::Tensor joined(const at::Tensor& part, const Placement& placement, const Communicator& axis) {
  if (placement.split_dim < 0) return part;
  const bool turn = placement.split_dim == 1;  // columns are rows of the transposed matrix
  const at::Tensor rows = turn ? part.t() : part;
  std::vector<std::int64_t> shape = rows.sizes().vec();
  shape[0] = placement.shape[static_cast<std::size_t>(placement.split_dim)];
  at::Tensor whole = at::empty(shape, part.options());
  whole.narrow(0, placement.split.first, placement.split.count()).copy_(rows);
  axis.all_gather_rows(whole, shard_ranges(shape[0], axis.size()));
  return turn ? whole.t().contiguous() : whole;
}

void describe_part(StateArchive& archive, const std::string& name, at::Tensor& part, Range rows, Range written,
                   const Placement& placement, const LayoutPointer& layout) {
  const std::int64_t before = placement.rows_before();
  const int tensor_ranks = layout ? layout->grid.tensor.size() : 1,
            tensor_rank = layout ? layout->grid.tensor.rank() : 0;
  if (archive.is_reading()) {
    std::vector<std::int64_t> shape = placement.shape;
    shape[0] = rows.count();
    at::Tensor read = at::empty(shape, part.options().device(at::kCPU));
    archive.rows(name, read, placement.shape, {before + rows.first, before + rows.last});
    part.copy_(placement.kept_columns(read));
    return;
  }
  at::Tensor mine = part.detach().narrow(0, written.first - rows.first, written.count());
  if (placement.split_dim != 0 && tensor_ranks > 1) {
    // All of the tensor axis have these rows, or columns of them: each writes some of the rows.
    if (placement.split_dim == 1) mine = joined(mine, placement, layout->grid.tensor);
    const Range share = shard_range(written.count(), tensor_ranks, tensor_rank);
    mine = mine.narrow(0, share.first, share.count());
    written = {written.first + share.first, written.first + share.last};
  }
  archive.rows(name, mine, placement.shape, {before + written.first, before + written.last});
}

}  // namespace rluf
