#pragma once
// Differentiable steps between ranks, and between forward and backward. Every call is collective over its axis, forward
// and backward.
#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "rluf/model/layout.hpp"

namespace rluf {

/// x itself; its gradient is the sum of the axis's. Where a tensor that all ranks have meets split weights.
at::Tensor copy_to_axis(const at::Tensor& x, const Communicator& axis);
/// The sum of the axis's x in float32; its gradient is passed on. Where split weights made parts of a sum.
at::Tensor sum_over_axis(const at::Tensor& x, const Communicator& axis);

/// body(x) that keeps x alone and computes the rest again in backward. `anchor`: any tensor that requires a gradient,
/// so that the parameters inside get theirs also where x needs none.
at::Tensor recomputed(const std::function<at::Tensor(const at::Tensor&)>& body, const at::Tensor& x,
                      const at::Tensor& anchor);

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
};
/// The weights on all their rows, by one all-gather. @shape each [placement.local]
std::vector<at::Tensor> gather_weights(const GatherRequest& request);
/// The same with gradients, which go to request.sink and nowhere else. `anchor` as above.
std::vector<at::Tensor> gather_trained_weights(const GatherRequest& request, const at::Tensor& anchor);

/// Rows of several tensors, rank by rank and inside of a rank tensor by tensor, as one flat tensor for a collective.
/// `rows[i][r]`: of tensor i for rank r
at::Tensor pack_rows(const std::vector<at::Tensor>& tensors, const std::vector<std::vector<Range>>& rows);
/// Elements of each rank in such a packing.
std::vector<std::int64_t> packed_counts(const std::vector<at::Tensor>& tensors,
                                        const std::vector<std::vector<Range>>& rows);

}  // namespace rluf
