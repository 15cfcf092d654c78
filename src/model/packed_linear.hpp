#pragma once
/// Products with weights in oneDNN's own layout, which LibTorch would otherwise make anew in every call.
#include <ATen/core/Tensor.h>

namespace rluf {

/// A copy of a weight matrix for packed_linear, best for inputs of about `num_rows` rows. Undefined where this LibTorch
/// or this processor has no such layout. @shape weight [num_outputs, num_inputs] bfloat16
at::Tensor pack_linear_weight(const at::Tensor& weight, std::int64_t num_rows);
/// x weight^T. @shape x [R, num_inputs] bfloat16 -> [R, num_outputs] bfloat16
at::Tensor packed_linear(const at::Tensor& x, const at::Tensor& packed);

}  // namespace rluf
