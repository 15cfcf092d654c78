#include "distributed_ops.hpp"

#include <torch/torch.h>

#include "held.hpp"
#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor summed(const at::Tensor& x, const Communicator& axis) {
  at::Tensor sum = at::empty(x.sizes(), x.options().dtype(torch::kFloat32)).copy_(x);
  axis.all_reduce(sum);
  return sum;
}

struct CopyToAxis : torch::autograd::Function<CopyToAxis> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const Communicator& axis) {
    context->saved_data["axis"] = hold(axis);
    return x.view_as(x);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto& axis = held<Communicator>(context->saved_data["axis"]);
    return {summed(grads[0], axis).to(grads[0].scalar_type()), at::Tensor()};
  }
};

struct SumOverAxis : torch::autograd::Function<SumOverAxis> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const Communicator& axis) {
    context->saved_data["type"] = static_cast<std::int64_t>(x.scalar_type());
    return summed(x, axis);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    return {grads[0].to(static_cast<at::ScalarType>(context->saved_data["type"].toInt())), at::Tensor()};
  }
};

thread_local bool recomputing = false;
struct Recomputing {
  Recomputing() { recomputing = true; }
  ~Recomputing() { recomputing = false; }
};

using Body = std::function<at::Tensor(const at::Tensor&)>;

struct Recomputed : torch::autograd::Function<Recomputed> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*anchor*/,
                            const Body& body) {
    context->save_for_backward({x});
    context->saved_data["body"] = hold(body);
    return body(x);  // gradients are off in here
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::Tensor x = context->get_saved_variables()[0].detach().set_requires_grad(true);
    const at::AutoGradMode with_gradients(true);
    const at::Tensor y = again(held<Body>(context->saved_data["body"]), x);
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), at::Tensor(), at::Tensor()};
  }
  static at::Tensor again(const Body& body, const at::Tensor& x) {
    const Recomputing here;
    return body(x);
  }
};

}  // namespace

at::Tensor copy_to_axis(const at::Tensor& x, const Communicator& axis) {
  return axis.size() == 1 ? x : CopyToAxis::apply(x, axis);
}

at::Tensor sum_over_axis(const at::Tensor& x, const Communicator& axis) {
  return axis.size() == 1 ? x : SumOverAxis::apply(x, axis);
}

bool is_recomputing() { return recomputing; }

at::Tensor recomputed(const Body& body, const at::Tensor& x, const at::Tensor& anchor) {
  return Recomputed::apply(x, anchor, body);
}

}  // namespace rluf
