#include "packed_linear.hpp"

#include <torch/torch.h>

#include <ATen/core/dispatch/Dispatcher.h>

namespace rluf {
namespace {

/// These operators have no C++ function; a LibTorch without oneDNN does not know them.
std::optional<c10::OperatorHandle> find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchema({name, ""});
}

at::Tensor call(const c10::OperatorHandle& op, std::vector<c10::IValue> stack) {
  op.callBoxed(&stack);
  return stack.at(0).toTensor();
}

}  // namespace

at::Tensor pack_linear_weight(const at::Tensor& weight, std::int64_t num_rows) {
  static const auto pack = find_operator("mkldnn::_reorder_linear_weight");
  static const auto product = find_operator("mkldnn::_linear_pointwise");
  if (!pack || !product || !at::globalContext().userEnabledMkldnn()) return {};
  return call(*pack, {weight, num_rows});
}

at::Tensor packed_linear(const at::Tensor& x, const at::Tensor& packed) {
  static const auto product = find_operator("mkldnn::_linear_pointwise");
  return call(product.value(),
              {x, packed, c10::IValue(), "none", c10::List<std::optional<at::Scalar>>(), c10::IValue("")});
}

}  // namespace rluf
