#pragma once
// Differentiable steps between ranks, and between forward and backward. Every call is collective over its axis, forward
// and backward.
#include <ATen/core/Tensor.h>

#include <functional>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// x itself; its gradient is the sum of the axis's. Where a tensor that all ranks have meets split weights.
at::Tensor copy_to_axis(const at::Tensor& x, const Communicator& axis);
/// The sum of the axis's x in float32; its gradient is passed on. Where split weights made parts of a sum.
at::Tensor sum_over_axis(const at::Tensor& x, const Communicator& axis);

/// body(x) that keeps x alone and computes the rest again in backward. `anchor`: any tensor that requires a gradient,
/// so that the parameters inside get theirs also where x needs none.
at::Tensor recomputed(const std::function<at::Tensor(const at::Tensor&)>& body, const at::Tensor& x,
                      const at::Tensor& anchor);

/// Whether this thread is computing a body again, whose gradients come next.
bool is_recomputing();

}  // namespace rluf
