#include "gradient_sum.hpp"

#include <torch/torch.h>

#include <cmath>
#include <limits>

#include "rluf/kernels/fixed_point.hpp"

namespace rluf {
namespace {

std::span<std::int64_t> integers(const at::Tensor& tensor) {
  return {tensor.data_ptr<std::int64_t>(), static_cast<std::size_t>(tensor.numel())};
}
std::span<float> floats(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// The device's way of add_fixed_point.
bool add_on_device(const at::Tensor& values, double largest, at::Tensor sums) {
  const bool fits = values.abs().le(largest).all().item<bool>();
  if (fits) sums.add_((values.to(torch::kFloat64) * std::ldexp(1.0, kFixedPointBits)).to(torch::kInt64));
  return fits;
}

}  // namespace

GradientSum::GradientSum(const Llama& model, std::int64_t num_micro_batches, bool reproducible) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : model.parameters()) {
    if (!tensor.requires_grad()) continue;
    parameters_.push_back(tensor);
    count += tensor.numel();
  }
  if (!reproducible) return;
  largest_ = largest_term(num_micro_batches);
  sums_ = torch::zeros({count + 1}, torch::TensorOptions(torch::kInt64).device(model.device()));
}

void GradientSum::add() {
  if (!sums_.defined()) return;  // backward() adds to grad by itself
  const torch::NoGradGuard no_grad;
  std::int64_t first = 0;
  bool fits = true;
  for (at::Tensor& parameter : parameters_) {
    if (parameter.grad().defined()) {
      const at::Tensor gradient = parameter.grad().contiguous().view(-1),
                       sums = sums_.narrow(0, first, gradient.numel());
      fits &= gradient.is_cpu() ? add_fixed_point(floats(gradient), largest_, integers(sums))
                                : add_on_device(gradient, largest_, sums);
      parameter.mutable_grad() = at::Tensor();
    }
    first += parameter.numel();
  }
  if (!fits) sums_[first] += 1;
}

void GradientSum::reduce(const Communicator& data) {
  const torch::NoGradGuard no_grad;
  if (!sums_.defined()) {
    std::vector<at::Tensor> gradients;
    for (at::Tensor& parameter : parameters_) {
      if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);
      gradients.push_back(parameter.grad().reshape(-1));
    }
    if (data.size() == 1) return;
    at::Tensor flat = torch::cat(gradients);  // one collective for all
    data.all_reduce(flat);
    std::int64_t first = 0;
    for (at::Tensor& gradient : gradients) {
      gradient.copy_(flat.narrow(0, first, gradient.numel()));
      first += gradient.numel();
    }
    return;
  }
  data.all_reduce(sums_);
  const bool fits = sums_[-1].item<std::int64_t>() == 0;
  std::int64_t first = 0;
  for (at::Tensor& parameter : parameters_) {
    at::Tensor gradient = torch::empty_like(parameter, torch::MemoryFormat::Contiguous);
    const at::Tensor sums = sums_.narrow(0, first, gradient.numel());
    if (!fits) {
      gradient.fill_(std::numeric_limits<float>::infinity());
    } else if (gradient.is_cpu()) {
      from_fixed_point(integers(sums), floats(gradient));
    } else {
      gradient.view(-1).copy_(sums.to(torch::kFloat64) * std::ldexp(1.0, -kFixedPointBits));
    }
    parameter.mutable_grad() = gradient;
    first += gradient.numel();
  }
}

}  // namespace rluf
