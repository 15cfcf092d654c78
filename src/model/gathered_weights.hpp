#pragma once
// Weights that are divided over the shard axis, whole for as long as they are used.
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "rluf/model/layout.hpp"

namespace rluf {

/// Where the gradients of gathered weights go.
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  /// Of one use of parameters `indices` by this rank; undefined where one is frozen. `more_to_come`: the same pass uses
  /// the parameter again, and both are to be added before they are rounded. @collective over the shard axis
  virtual void add(const std::vector<std::size_t>& indices, const std::vector<at::Tensor>& gradients,
                   bool more_to_come) = 0;
};

/// Some parameters of a model whose weights or gradients are divided over the shard axis.
struct GatherRequest {
  std::vector<std::size_t> indices;
  std::vector<at::Tensor> kept;  ///< this rank's rows
  std::vector<Placement> placements;
  std::vector<at::ScalarType> types;  ///< in which they travel and arrive
  std::vector<bool> trainable;
  LayoutPointer layout;
  GradientSink* sink = nullptr;
  bool more_to_come = false;  ///< of gradients, see GradientSink

  bool trains() const;
};

/// Weights on their way to all their rows, by one all-gather.
class WeightGather {
 public:
  explicit WeightGather(const GatherRequest& request);  ///< @collective over the shard axis
  /// To be asked once. @shape each [placement.local]
  std::vector<at::Tensor> wait();

 private:
  std::vector<Placement> placements_;
  std::vector<at::Tensor> weights_;  ///< this rank's, if nothing is divided
  std::vector<at::TensorOptions> options_;
  std::vector<std::int64_t> counts_;
  PendingCollective bytes_;
};

/// Matrices that the forward pass drops after their use, and that come again when the backward pass first needs one.
struct DroppedWeights {
  std::function<std::vector<at::Tensor>()> gather;
  std::vector<at::Tensor> weights;  ///< empty: not here

  const at::Tensor& at(std::size_t place);
};
/// x W^T, with W of `dropped` for the gradients.
at::Tensor product_with_dropped(const at::Tensor& x, const at::Tensor& weight,
                                const std::shared_ptr<DroppedWeights>& dropped, std::size_t place);

/// Gathered weights as parts of the graph: their gradients go to request.sink and nowhere else; then `dropped` (if any)
/// drops them. `anchor`: any tensor that requires a gradient.
std::vector<at::Tensor> with_gradients(const std::vector<at::Tensor>& weights, const GatherRequest& request,
                                       const std::shared_ptr<DroppedWeights>& dropped, const at::Tensor& anchor);

/// Rows of several tensors, rank by rank and inside of a rank tensor by tensor, as one flat tensor for a collective.
/// `rows[i][r]`: of tensor i for rank r
at::Tensor pack_rows(const std::vector<at::Tensor>& tensors, const std::vector<std::vector<Range>>& rows);
/// Elements of each rank in such a packing.
std::vector<std::int64_t> packed_counts(const std::vector<at::Tensor>& tensors,
                                        const std::vector<std::vector<Range>>& rows);

}  // namespace rluf
