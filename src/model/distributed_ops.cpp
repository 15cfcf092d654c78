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
    const at::Tensor y = held<Body>(context->saved_data["body"])(x);
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), at::Tensor(), at::Tensor()};
  }
};

struct GatherTrainedWeights : torch::autograd::Function<GatherTrainedWeights> {
  static variable_list forward(AutogradContext* context, const at::Tensor& /*anchor*/, const GatherRequest& request) {
    context->saved_data["request"] = hold(request);
    context->set_materialize_grads(false);
    variable_list weights = gather_weights(request), frozen;
    for (std::size_t i = 0; i < weights.size(); ++i)
      if (!request.trainable[i]) frozen.push_back(weights[i]);
    context->mark_non_differentiable(frozen);
    return weights;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto& request = held<GatherRequest>(context->saved_data["request"]);
    if (request.sink == nullptr) throw std::logic_error("gradients of divided weights, and nobody collects them");
    request.sink->add(request.indices, grads, request.more_to_come);
    return {at::Tensor(), at::Tensor()};
  }
};

at::Tensor bytes_of(const at::Tensor& tensor) { return tensor.contiguous().view(-1).view(torch::kUInt8); }

}  // namespace

at::Tensor copy_to_axis(const at::Tensor& x, const Communicator& axis) {
  return axis.size() == 1 ? x : CopyToAxis::apply(x, axis);
}

at::Tensor sum_over_axis(const at::Tensor& x, const Communicator& axis) {
  return axis.size() == 1 ? x : SumOverAxis::apply(x, axis);
}

at::Tensor recomputed(const Body& body, const at::Tensor& x, const at::Tensor& anchor) {
  return Recomputed::apply(x, anchor, body);
}

at::Tensor pack_rows(const std::vector<at::Tensor>& tensors, const std::vector<std::vector<Range>>& rows) {
  std::vector<at::Tensor> parts;
  for (std::size_t r = 0; r < rows.at(0).size(); ++r)
    for (std::size_t i = 0; i < tensors.size(); ++i)
      parts.push_back(tensors[i].narrow(0, rows[i][r].first, rows[i][r].count()).reshape(-1));
  return at::cat(parts);
}

std::vector<std::int64_t> packed_counts(const std::vector<at::Tensor>& tensors,
                                        const std::vector<std::vector<Range>>& rows) {
  std::vector<std::int64_t> counts(rows.at(0).size(), 0);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t r = 0; r < counts.size(); ++r)
      if (rows[i][r].count() > 0) counts[r] += tensors[i].numel() / tensors[i].size(0) * rows[i][r].count();
  return counts;
}

std::vector<at::Tensor> gather_weights(const GatherRequest& request) {
  std::vector<at::Tensor> weights, mine;
  for (std::size_t i = 0; i < request.kept.size(); ++i) mine.push_back(request.kept[i].detach().to(request.types[i]));
  if (!request.layout->divides_weights()) return mine;
  const Communicator& shard = request.layout->grid.shard;
  std::vector<at::Tensor> bytes;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(shard.size()), 0);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const Placement& placement = request.placements[i];
    weights.push_back(at::empty(placement.local, mine[i].options()));
    bytes.push_back(bytes_of(mine[i]));
    const std::int64_t row_bytes = static_cast<std::int64_t>(weights[i].nbytes()) / placement.local[0];
    for (std::size_t r = 0; r < counts.size(); ++r) counts[r] += placement.shards[r].count() * row_bytes;
  }
  const at::Tensor all = shard.all_gather(at::cat(bytes), counts);
  std::int64_t first = 0;
  for (std::size_t r = 0; r < counts.size(); ++r) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const Range rows = request.placements[i].shards[r];
      const at::Tensor to = bytes_of(weights[i].narrow(0, rows.first, rows.count()));
      to.copy_(all.narrow(0, first, to.numel()));
      first += to.numel();
    }
  }
  return weights;
}

std::vector<at::Tensor> gather_trained_weights(const GatherRequest& request, const at::Tensor& anchor) {
  return GatherTrainedWeights::apply(anchor, request);
}

}  // namespace rluf
