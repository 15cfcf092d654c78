#include "gradient_sum.hpp"

#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <utility>

#include "rluf/core/error.hpp"
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

GradientSum::GradientSum(Llama& model, std::int64_t num_micro_batches, bool reproducible, const Communicator& comm)
    : model_(model),
      comm_(comm),
      reproducible_(reproducible),
      travels_bf16_(model.layout() && model.layout()->reduces_bf16),
      largest_(largest_term(num_micro_batches)) {
  RLUF_ASSERT(!(reproducible && travels_bf16_));
  const auto type = reproducible ? torch::kInt64 : torch::kFloat32;
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    if (!model.parameters()[i].second.requires_grad()) continue;
    const UpdateShare share = update_share(model.placements()[i], model.layout(), comm);
    std::vector<std::int64_t> shape = model.placements()[i].local;
    shape[0] = share.block.count();
    sums_.push_back({i, share, torch::zeros(shape, torch::TensorOptions(type).device(model.device()))});
  }
  model.set_gradient_sink(this);
}

GradientSum::~GradientSum() { model_.set_gradient_sink(nullptr); }

void GradientSum::add_to(at::Tensor& sums, const at::Tensor& gradient) {
  if (gradient.is_meta()) return;  // shapes without numbers
  if (!reproducible_) {
    sums.add_(gradient);
  } else if (gradient.is_cpu()) {
    fits_ &= add_fixed_point(floats(gradient.contiguous()), largest_, integers(sums));
  } else {
    fits_ &= add_on_device(gradient, largest_, sums);
  }
}

void GradientSum::add() {
  const torch::NoGradGuard no_grad;
  for (Sum& sum : sums_) {
    at::Tensor parameter = model_.parameters()[sum.index].second;
    if (!parameter.grad().defined()) continue;
    add_to(sum.values, parameter.grad());
    parameter.mutable_grad() = at::Tensor();
  }
}

void GradientSum::add(const std::vector<std::size_t>& indices, const std::vector<at::Tensor>& gradients,
                      bool more_to_come) {
  const torch::NoGradGuard no_grad;
  if (more_to_come) {
    awaiting_ = gradients.at(0).to(torch::kFloat32);
    awaited_ = indices.at(0);
    return;
  }
  std::vector<at::Tensor> whole;
  std::vector<std::vector<Range>> rows;
  std::vector<Sum*> to;
  for (Sum& sum : sums_) {
    const auto found = std::find(indices.begin(), indices.end(), sum.index);
    if (found == indices.end()) continue;
    const at::Tensor& gradient = gradients[static_cast<std::size_t>(found - indices.begin())];
    const Placement& placement = model_.placements()[sum.index];
    whole.push_back(gradient.defined() ? gradient.to(torch::kFloat32)
                                       : torch::zeros(placement.local, sum.values.options().dtype(torch::kFloat32)));
    rows.push_back(placement.shards);
    to.push_back(&sum);
  }
  if (awaiting_.defined() && indices[0] == awaited_) whole.at(0) = whole[0] + std::exchange(awaiting_, at::Tensor());
  const std::vector<std::int64_t> counts = packed_counts(whole, rows);
  at::Tensor terms = pack_rows(whole, rows);
  whole.clear();
  if (reproducible_) {
    const at::Tensor packed = std::exchange(terms, torch::zeros(terms.sizes(), to[0]->values.options()));
    add_to(terms, packed);
  }
  arrive();
  on_its_way_ = start_scatter(model_.layout()->grid.shard, terms, counts);
  awaits_ = std::move(to);
}

PendingCollective GradientSum::start_scatter(const Communicator& axis, const at::Tensor& sums,
                                             const std::vector<std::int64_t>& counts) const {
  return axis.start_reduce_scatter(travels_bf16_ ? sums.to(torch::kBFloat16) : sums, counts);
}

void GradientSum::arrive() {
  if (awaits_.empty()) return;
  const at::Tensor mine = on_its_way_.wait();
  std::int64_t first = 0;
  for (Sum* sum : std::exchange(awaits_, {})) {
    sum->values.view(-1).add_(mine.narrow(0, first, sum->values.numel()));
    first += sum->values.numel();
  }
}

at::Tensor GradientSum::as_float(const at::Tensor& sums) const {
  if (!reproducible_) return sums.to(torch::kFloat32);
  at::Tensor gradient = torch::empty(sums.sizes(), sums.options().dtype(torch::kFloat32));
  if (gradient.is_cpu()) {
    from_fixed_point(integers(sums), floats(gradient));
  } else {
    gradient.copy_(sums.to(torch::kFloat64) * std::ldexp(1.0, -kFixedPointBits));
  }
  return gradient;
}

std::vector<at::Tensor> GradientSum::reduce() {
  const torch::NoGradGuard no_grad;
  arrive();
  std::vector<at::Tensor> gradients;
  for (std::size_t first = 0, last = 0; first < sums_.size(); first = last) {
    std::vector<at::Tensor> bucket;
    std::vector<std::vector<Range>> rows;
    for (std::int64_t count = 0; last < sums_.size() && (count == 0 || count < kBucketElements); ++last) {
      const Sum& sum = sums_[last];
      bucket.push_back(sum.values);
      rows.push_back(shard_ranges(sum.share.block.count(), sum.share.axis.size()));
      count += sum.values.numel();
    }
    const Communicator& axis = sums_[first].share.axis;  // the same for all
    if (axis.size() == 1) {
      for (const at::Tensor& sums : bucket) gradients.push_back(as_float(sums));
      continue;
    }
    const at::Tensor mine = as_float(start_scatter(axis, pack_rows(bucket, rows), packed_counts(bucket, rows)).wait());
    std::int64_t next = 0;
    for (std::size_t i = 0; i < bucket.size(); ++i) {
      std::vector<std::int64_t> shape = bucket[i].sizes().vec();
      shape[0] = rows[i][static_cast<std::size_t>(axis.rank())].count();
      const std::int64_t count = c10::multiply_integers(shape);
      gradients.push_back(mine.narrow(0, next, count).view(shape));
      next += count;
    }
    for (std::size_t i = first; i < last; ++i) sums_[i].values = at::Tensor();
  }
  if (comm_.all_reduce(std::int64_t{fits_}, Reduce::kMin) == 0)
    for (at::Tensor& gradient : gradients) gradient.fill_(std::numeric_limits<float>::infinity());
  return gradients;
}

}  // namespace rluf
