#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "rluf/core/error.hpp"
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

AdamW::AdamW(const Llama& model, const TrainOptions& options) : options_(options) {
  for (const auto& [name, tensor] : model.parameters()) {
    if (!tensor.requires_grad()) continue;
    parameters_.emplace_back(name, tensor);
    first_.push_back(torch::zeros_like(tensor).detach());
    second_.push_back(torch::zeros_like(tensor).detach());
  }
  if (parameters_.empty())
    fail_input("no parameter is trainable", "a step would change nothing", "raise trainable_layers");
}

double AdamW::step(double learning_rate) {
  torch::NoGradGuard no_grad;
  double squares = 0;
  for (auto& [name, tensor] : parameters_) {
    if (!tensor.grad().defined()) tensor.mutable_grad() = torch::zeros_like(tensor);
    const double norm = tensor.grad().norm().item<double>();
    squares += norm * norm;
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) return norm;
  const double scale = options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  ++steps_taken_;
  // Decay pulls on matrices only: a norm's gain near 1 is no overgrown weight.
  for (const bool matrices : {true, false}) {
    std::vector<at::Tensor> weights, grads, first, second, steps;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor& tensor = parameters_[i].second;
      if ((tensor.dim() > 1) != matrices) continue;
      if (scale != 1.0) tensor.grad().mul_(scale);
      weights.push_back(tensor);
      grads.push_back(tensor.grad());
      first.push_back(first_[i]);
      second.push_back(second_[i]);
      steps.push_back(torch::tensor(static_cast<float>(steps_taken_), tensor.options().requires_grad(false)));
    }
    if (weights.empty()) continue;
    at::_fused_adamw_(weights, grads, first, second, {}, steps, learning_rate, options_.beta1, options_.beta2,
                      matrices ? options_.weight_decay : 0.0, options_.epsilon, false, false);
  }
  return norm;
}

void AdamW::zero_grad() {
  for (auto& [name, tensor] : parameters_) tensor.mutable_grad() = at::Tensor();
}

NamedTensors AdamW::state() const {
  NamedTensors state;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    state.emplace_back("first/" + parameters_[i].first, first_[i]);
    state.emplace_back("second/" + parameters_[i].first, second_[i]);
  }
  return state;
}

void AdamW::load(const CheckpointState& state) {
  torch::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> tensors(state.tensors.begin(), state.tensors.end());
  const auto restore = [&](const std::string& name, at::Tensor target) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.sizes() != target.sizes())
      fail_data(concat("the checkpoint of stage ", state.stage, " lacks ", name, " in the right shape"),
                "it was made with another model or other trainable layers",
                "restore the old options or use another run.directory");
    target.copy_(found->second);
  };
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    restore("first/" + parameters_[i].first, first_[i]);
    restore("second/" + parameters_[i].first, second_[i]);
  }
  steps_taken_ = state.values.at("optimizer_steps").get<std::int64_t>();
}

}  // namespace rluf
