#include "gathered_weights.hpp"

#include <torch/torch.h>

#include <algorithm>

#include "held.hpp"
#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor bytes_of(const at::Tensor& tensor) { return tensor.contiguous().view(-1).view(torch::kUInt8); }

struct WithGradients : torch::autograd::Function<WithGradients> {
  static variable_list forward(AutogradContext* context, const at::Tensor& /*anchor*/, const variable_list& weights,
                               const GatherRequest& request, const std::shared_ptr<DroppedWeights>& dropped) {
    context->saved_data["request"] = hold(request);
    context->saved_data["dropped"] = hold(dropped);
    context->set_materialize_grads(false);
    variable_list frozen;
    for (std::size_t i = 0; i < weights.size(); ++i)
      if (!request.trainable[i]) frozen.push_back(weights[i]);
    context->mark_non_differentiable(frozen);
    return weights;
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto& request = held<GatherRequest>(context->saved_data["request"]);
    if (request.sink == nullptr) throw std::logic_error("gradients of divided weights, and nobody collects them");
    if (const auto& dropped = held<std::shared_ptr<DroppedWeights>>(context->saved_data["dropped"]))
      dropped->weights.clear();
    request.sink->add(request.indices, grads, request.more_to_come);
    return {at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// The products and gradients of at::linear, bit by bit.
struct ProductWithDropped : torch::autograd::Function<ProductWithDropped> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::shared_ptr<DroppedWeights>& dropped, std::int64_t place) {
    context->save_for_backward({x});
    context->saved_data["dropped"] = hold(dropped);
    context->saved_data["place"] = place;
    return at::linear(x, weight);
  }
  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto& dropped = held<std::shared_ptr<DroppedWeights>>(context->saved_data["dropped"]);
    const at::Tensor x = context->get_saved_variables()[0];
    at::Tensor grad_x, grad_weight;
    if (context->needs_input_grad(0))
      grad_x = grads[0].mm(dropped->at(static_cast<std::size_t>(context->saved_data["place"].toInt())));
    if (context->needs_input_grad(1)) grad_weight = grads[0].t().mm(x);
    return {grad_x, grad_weight, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool GatherRequest::trains() const { return std::find(trainable.begin(), trainable.end(), true) != trainable.end(); }

WeightGather::WeightGather(const GatherRequest& request) : placements_(request.placements) {
  for (std::size_t i = 0; i < request.kept.size(); ++i)
    weights_.push_back(request.kept[i].detach().to(request.types[i]));
  if (!request.layout->divides_weights()) return;
  const Communicator& shard = request.layout->grid.shard;
  std::vector<at::Tensor> bytes;
  counts_.resize(static_cast<std::size_t>(shard.size()), 0);
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const std::vector<std::int64_t>& shape = placements_[i].local;
    options_.push_back(weights_[i].options());
    bytes.push_back(bytes_of(weights_[i]));
    const std::int64_t row_bytes = c10::multiply_integers(shape) / shape[0] * weights_[i].element_size();
    for (std::size_t r = 0; r < counts_.size(); ++r) counts_[r] += placements_[i].shards[r].count() * row_bytes;
  }
  weights_.clear();
  bytes_ = shard.start_all_gather(at::cat(bytes), counts_);
}

std::vector<at::Tensor> WeightGather::wait() {
  if (counts_.empty()) return std::move(weights_);
  const at::Tensor all = bytes_.wait();
  for (std::size_t i = 0; i < placements_.size(); ++i) weights_.push_back(at::empty(placements_[i].local, options_[i]));
  std::int64_t first = 0;
  for (std::size_t r = 0; r < counts_.size(); ++r) {
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const Range rows = placements_[i].shards[r];
      const at::Tensor to = bytes_of(weights_[i].narrow(0, rows.first, rows.count()));
      to.copy_(all.narrow(0, first, to.numel()));
      first += to.numel();
    }
  }
  return std::move(weights_);
}

const at::Tensor& DroppedWeights::at(std::size_t place) {
  if (weights.empty()) weights = gather();
  return weights[place];
}

at::Tensor product_with_dropped(const at::Tensor& x, const at::Tensor& weight,
                                const std::shared_ptr<DroppedWeights>& dropped, std::size_t place) {
  return ProductWithDropped::apply(x, weight, dropped, static_cast<std::int64_t>(place));
}

std::vector<at::Tensor> with_gradients(const std::vector<at::Tensor>& weights, const GatherRequest& request,
                                       const std::shared_ptr<DroppedWeights>& dropped, const at::Tensor& anchor) {
  return WithGradients::apply(anchor, weights, request, dropped);
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

}  // namespace rluf
