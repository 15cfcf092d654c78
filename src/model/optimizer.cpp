#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "rluf/core/error.hpp"
#include "rluf/kernels/adamw.hpp"
#include "rluf/kernels/fixed_point.hpp"
#include "rluf/model/training.hpp"

namespace rluf {

double learning_rate_at(const TrainOptions& options, std::int64_t step, std::int64_t num_steps) {
  if (step < options.warmup_steps)
    return options.learning_rate * static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
  const double floor = options.min_learning_rate_ratio;
  const double span = static_cast<double>(std::max<std::int64_t>(1, num_steps - options.warmup_steps));
  const double done = std::min(1.0, static_cast<double>(step - options.warmup_steps) / span);
  return options.learning_rate * (floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
}

namespace {

Range shard_of(const at::Tensor& tensor, const Communicator& data) {
  return shard_range(tensor.size(0), data.size(), data.rank());
}

at::Tensor shard(const at::Tensor& tensor, const Communicator& data) {
  const Range rows = shard_of(tensor, data);
  return tensor.detach().narrow(0, rows.first, rows.count());
}

std::span<float> floats(const at::Tensor& tensor) {
  RLUF_ASSERT(tensor.is_contiguous());
  return {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

double squares(const at::Tensor& gradient) {
  return gradient.is_cpu() ? sum_of_squares(floats(gradient.contiguous()))
                           : gradient.to(torch::kFloat64).square().sum().item<double>();
}

/// On these rows of one parameter, in place.
void update(const at::Tensor& weight, const at::Tensor& gradient, const at::Tensor& first, const at::Tensor& second,
            const AdamWRates& rates) {
  if (weight.is_cpu())
    return adamw_update(floats(weight), floats(gradient.contiguous()), floats(first), floats(second), rates);
  at::_fused_adamw_({weight}, {gradient * rates.gradient_scale}, {first}, {second}, {},
                    {torch::tensor(static_cast<float>(rates.step), weight.options())}, rates.learning_rate, rates.beta1,
                    rates.beta2, rates.weight_decay, rates.epsilon, false, false);
}

}  // namespace

AdamW::AdamW(const Llama& model, const TrainOptions& options, const Communicator& data)
    : options_(options), data_(data) {
  for (const auto& [name, tensor] : model.parameters()) {
    if (!tensor.requires_grad()) continue;
    parameters_.emplace_back(name, tensor);
    state_.first.push_back(torch::zeros_like(shard(tensor, data)));
    state_.second.push_back(torch::zeros_like(shard(tensor, data)));
  }
  if (parameters_.empty())
    fail_input("no parameter is trainable", "a step would change nothing", "raise trainable_layers");
}

double AdamW::step(double learning_rate) {
  torch::NoGradGuard no_grad;
  double sum = 0;
  for (auto& [name, tensor] : parameters_) {
    if (!tensor.grad().defined()) tensor.mutable_grad() = torch::zeros_like(tensor);
    sum += squares(tensor.grad());
  }
  const double norm = std::sqrt(sum);
  if (!std::isfinite(norm) || (options_.explosion_norm > 0 && norm > options_.explosion_norm)) return norm;
  const double scale = options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  ++state_.steps_taken;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& tensor = parameters_[i].second;
    if (shard_of(tensor, data_).count() == 0) continue;
    // Decay pulls on matrices only: a norm's gain near 1 is no overgrown weight.
    const bool own_rate = options_.head_learning_rate > 0 && parameters_[i].first.starts_with("score");
    update(shard(tensor, data_), shard(tensor.grad(), data_), state_.first[i], state_.second[i],
           {.learning_rate =
                own_rate ? learning_rate * options_.head_learning_rate / options_.learning_rate : learning_rate,
            .beta1 = options_.beta1,
            .beta2 = options_.beta2,
            .epsilon = options_.epsilon,
            .weight_decay = tensor.dim() > 1 ? options_.weight_decay : 0.0,
            .step = state_.steps_taken,
            .gradient_scale = scale});
  }
  for (auto& [name, tensor] : parameters_) {
    at::Tensor weight = tensor.detach();
    data_.all_gather_rows(weight);
  }
  return norm;
}

void AdamW::zero_grad() {
  for (auto& [name, tensor] : parameters_) tensor.mutable_grad() = at::Tensor();
}

void AdamW::describe(StateArchive& archive) {
  auto& [first, second, steps_taken] = state_;  // a new member does not compile until it is described
  archive.number("optimizer_steps", steps_taken);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor] = parameters_[i];
    archive.rows("first/" + name, first[i], tensor.sizes().vec());
    archive.rows("second/" + name, second[i], tensor.sizes().vec());
  }
}

}  // namespace rluf
