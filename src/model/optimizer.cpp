#include <torch/torch.h>

#include <cmath>
#include <limits>
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

std::span<float> floats(const at::Tensor& tensor) {
  RLUF_ASSERT(tensor.is_contiguous());
  return {tensor.data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// Sum of squares of each row.
std::vector<double> squares(const at::Tensor& gradient) {
  std::vector<double> sums(static_cast<std::size_t>(gradient.size(0)));
  if (gradient.is_cpu()) {
    row_squares(floats(gradient), sums);
  } else if (!sums.empty() && !gradient.is_meta()) {
    const at::Tensor rows = gradient.to(torch::kFloat64).square().reshape({gradient.size(0), -1}).sum(1).cpu();
    std::copy_n(rows.const_data_ptr<double>(), sums.size(), sums.begin());
  }
  return sums;
}

/// The root of the sum of all ranks' numbers, the same bits however they are divided; what is not finite if one is.
double root_of_sum(std::vector<double> values, const Communicator& comm) {
  double largest = 0;
  for (double& value : values) {
    if (!std::isfinite(value)) value = std::numeric_limits<double>::infinity();
    largest = std::max(largest, value);
  }
  largest = comm.all_reduce(largest, Reduce::kMax);
  if (!std::isfinite(largest) || largest == 0) return largest;
  const auto mine = wide_sum(values, largest);
  std::vector<std::int64_t> sum(mine.begin(), mine.end());
  comm.all_reduce(sum);
  return std::sqrt(wide_value({sum[0], sum[1]}, largest));
}

/// A copy in the host's memory, from which and to which a GPU copies fast; what is on the host already is itself.
at::Tensor on_host(const at::Tensor& x) {
  if (!x.is_cuda()) return x;
  return at::empty(x.sizes(), x.options().device(torch::kCPU).pinned_memory(true)).copy_(x);
}

/// Moments of one parameter. On the host of a device without storage they take nothing of the device.
at::Tensor zero_moments(const std::vector<std::int64_t>& shape, const at::Tensor& weight, bool on_host) {
  if (!on_host) return torch::zeros(shape, weight.options());
  if (weight.is_meta()) return torch::zeros({}, weight.options()).expand(shape);
  return torch::zeros(shape, weight.options().device(torch::kCPU));
}

/// On these rows of one parameter, in place.
void update(const at::Tensor& weight, const at::Tensor& gradient, const at::Tensor& first, const at::Tensor& second,
            const AdamWRates& rates) {
  if (weight.is_meta()) return;  // shapes without numbers
  if (weight.is_cpu()) return adamw_update(floats(weight), floats(gradient), floats(first), floats(second), rates);
  at::_fused_adamw_({weight}, {gradient * rates.gradient_scale}, {first}, {second}, {},
                    {torch::tensor(static_cast<float>(rates.step), weight.options())}, rates.learning_rate, rates.beta1,
                    rates.beta2, rates.weight_decay, rates.epsilon, false, false);
}

}  // namespace

AdamW::AdamW(const Llama& model, const TrainOptions& options, const Communicator& comm)
    : options_(options), comm_(comm), layout_(model.layout()) {
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    const auto& [name, tensor] = model.parameters()[i];
    if (!tensor.requires_grad()) continue;
    const Placement& placement = model.placements()[i];
    trained_.push_back({name, tensor, placement, update_share(placement, layout_, comm)});
    std::vector<std::int64_t> shape = placement.local;
    shape[0] = trained_.back().share.mine().count();
    for (auto* moments : {&state_.first, &state_.second}) moments->push_back(zero_moments(shape, tensor, is_on_host()));
  }
  masters_.resize(trained_.size());
  if (trained_.empty())
    fail_input("no parameter is trainable", "a step would change nothing", "raise trainable_layers");
}

bool AdamW::is_on_host() const { return layout_ && layout_->optimizer_on_host; }

at::Tensor AdamW::Trained::kept_rows(Range rows) const {
  return weight.detach().narrow(0, rows.first - placement.kept.first, rows.count());
}

double AdamW::step(const std::vector<at::Tensor>& gradients, double learning_rate) {
  torch::NoGradGuard no_grad;
  RLUF_ASSERT(gradients.size() == trained_.size());
  std::vector<double> rows;
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    // What the tensor axis holds in common counts once.
    if (layout_ && trained_[i].placement.split_dim < 0 && layout_->grid.tensor.rank() != 0) continue;
    const std::vector<double> of_parameter = squares(gradients[i]);
    rows.insert(rows.end(), of_parameter.begin(), of_parameter.end());
  }
  const double norm = root_of_sum(rows, comm_);
  if (!std::isfinite(norm) || (options_.explosion_norm > 0 && norm > options_.explosion_norm)) return norm;
  before_change_();
  const double scale = options_.clip_norm > 0 && norm > options_.clip_norm ? options_.clip_norm / norm : 1.0;
  ++state_.steps_taken;
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    const Trained& of = trained_[i];
    if (of.share.mine().count() == 0) continue;
    // Decay pulls on matrices only: a norm's gain near 1 is no overgrown weight.
    const bool own_rate = options_.head_learning_rate > 0 && of.name.starts_with("score");
    at::Tensor weight = of.kept_rows(of.share.mine()), master = weight, gradient = gradients[i];
    if (is_on_host()) {
      if (!masters_[i].defined()) masters_[i] = on_host(weight);
      master = masters_[i];
      gradient = on_host(gradient);
    }
    update(master, gradient, state_.first[i], state_.second[i],
           {.learning_rate =
                own_rate ? learning_rate * options_.head_learning_rate / options_.learning_rate : learning_rate,
            .beta1 = options_.beta1,
            .beta2 = options_.beta2,
            .epsilon = options_.epsilon,
            .weight_decay = of.weight.dim() > 1 ? options_.weight_decay : 0.0,
            .step = state_.steps_taken,
            .gradient_scale = scale});
    if (!master.is_alias_of(weight)) weight.copy_(master, true);  // who reads it is behind it in the device's stream
  }
  for (const Trained& of : trained_) {
    at::Tensor block = of.kept_rows(of.share.block), kept = of.weight.detach();
    of.share.axis.all_gather_rows(block, shard_ranges(block.size(0), of.share.axis.size()));
    if (layout_ && layout_->divides_gradients() && !layout_->divides_weights())
      layout_->grid.shard.all_gather_rows(kept, of.placement.shards);
  }
  return norm;
}

void AdamW::describe(StateArchive& archive) {
  auto& [first, second, steps_taken] = state_;  // a new member does not compile until it is described
  archive.number("optimizer_steps", steps_taken);
  if (archive.is_reading()) masters_.assign(masters_.size(), at::Tensor());  // the weights are read after this
  for (std::size_t i = 0; i < trained_.size(); ++i) {
    const Trained& of = trained_[i];
    const Range mine = of.share.mine();
    describe_part(archive, "first/" + of.name, first[i], mine, mine, of.placement, layout_);
    describe_part(archive, "second/" + of.name, second[i], mine, mine, of.placement, layout_);
  }
}

}  // namespace rluf
