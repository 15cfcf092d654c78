#pragma once
/// How a model lies on the ranks: split over the tensor axis as Megatron-LM does (arXiv 1909.08053), divided over the
/// shard axis as ZeRO does (arXiv 1910.02054).
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rluf/parallel/process_grid.hpp"

namespace rluf {

struct LlamaConfig;
class OptionTable;

/// What backward computes again instead of keeping it: nothing, the feed-forward part of each layer, all of each layer.
enum class Recompute { kNone, kSelective, kLayers };
const char* name_of(Recompute kind);
Recompute recompute_named(const std::string& name);  ///< none, selective, layers

/// Section [parallel].
struct ParallelOptions {
  std::int64_t shard = 1, tensor = 1, zero = 3;
  std::string recompute = "none";
  std::string gradient_reduction = "f32", optimizer_memory = "device";
  std::int64_t gather_ahead = 1;
  void describe(OptionTable& table);
  /// @throws Error(kBadInput) if they contradict run.reproducible
  void check(bool reproducible) const;
};

struct Layout {
  ProcessGrid grid;
  std::int64_t zero = 1;  ///< divided over the shard axis. 1: moments; 2: gradients too; 3: weights too
  Recompute recompute = Recompute::kNone;
  bool reduces_bf16 = false;       ///< gradients travel between ranks in bfloat16
  bool optimizer_on_host = false;  ///< AdamW's state stands, and its step runs, in the host's memory
  std::int64_t gather_ahead = 0;   ///< layers whose weights are gathered before their turn, where they are divided

  bool divides_gradients() const { return zero >= 2 && grid.shard.size() > 1; }
  bool divides_weights() const { return zero >= 3 && grid.shard.size() > 1; }
};
/// Null: this rank has the whole model.
using LayoutPointer = std::shared_ptr<const Layout>;
LayoutPointer make_layout(const ParallelOptions& options, const ProcessGrid& grid);

/// The ranks with other examples among those of `comm`, which all work on a model of that layout.
const Communicator& replicas_of(const LayoutPointer& layout, const Communicator& comm);

/// The ranks that hold the same rows of the weights.
const Communicator& twins_of(const Layout& layout);

/// @throws Error(kBadInput) if the tensor axis does not divide the heads
void check_layout(const LlamaConfig& config, const Layout& layout);

/// Where one parameter lies.
struct Placement {
  std::vector<std::int64_t> shape;  ///< of the whole parameter
  int split_dim = -1;               ///< over the tensor axis: 0 rows, 1 columns, -1 whole on each of its ranks
  Range split;                      ///< this rank's part of split_dim
  std::vector<std::int64_t> local;  ///< shape of the tensor axis's part
  std::vector<Range> shards;        ///< rows of `local` on each rank of the shard axis
  Range kept;                       ///< rows of `local` whose weights stand here all the time

  std::int64_t rows_before() const { return split_dim == 0 ? split.first : 0; }  ///< row 0 of `local` in the whole
  Range kept_rows() const;  ///< `kept` as rows of the whole parameter
  /// The columns that stand here; shares memory. @shape [rows, ...] of the whole parameter
  at::Tensor kept_columns(const at::Tensor& rows) const;
  /// This rank's part of the whole parameter; shares memory.
  at::Tensor kept_part(const at::Tensor& whole) const;
};
/// Where the tensor axis splits a parameter. 0: rows of a matrix whose results are needed in parts; 1: columns of one
/// that takes such parts; -1: nowhere.
int tensor_split_dim(const std::string& name);
Placement placement_of(const std::string& name, const std::vector<std::int64_t>& shape, const Layout* layout);

/// The tensor axis's parts of some rows (of all rows, if they are split by rows) side by side. @collective over the
/// axis
at::Tensor joined(const at::Tensor& part, const Placement& placement, const Communicator& axis);

/// Elements of gradient sums that travel together at the end of a step.
constexpr std::int64_t kBucketElements = std::int64_t{1} << 22;

/// Which ranks divide the update of a parameter's rows among them, and which rows these are, of `placement.local`.
struct UpdateShare {
  Communicator axis;
  Range block;  ///< updated by the axis together

  Range mine() const;  ///< this rank's of them
};
/// `comm`: all ranks that work on the model.
UpdateShare update_share(const Placement& placement, const LayoutPointer& layout, const Communicator& comm);

class StateArchive;
/// Rows `rows` of this rank's part of a parameter, or of something of its shape such as a moment, as a piece of one
/// tensor of the whole shape. Of these, rows `written` are written by this rank (and its tensor axis); over all ranks
/// they must be all rows. @collective over the tensor axis when writing @shape part [rows, local columns]
void describe_part(StateArchive& archive, const std::string& name, at::Tensor& part, Range rows, Range written,
                   const Placement& placement, const LayoutPointer& layout);

}  // namespace rluf
