#include "rluf/pipeline/plan/meta_memory.hpp"

#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>

namespace rluf {
namespace {

struct Count {
  std::int64_t now = 0, peak = 0;
};
thread_local Count count;

void release(void* size) { count.now -= static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(size)); }

/// Gives no memory and remembers how much it would have been.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t num_bytes) override {
    count.now += static_cast<std::int64_t>(num_bytes);
    count.peak = std::max(count.peak, count.now);
    return {nullptr, reinterpret_cast<void*>(num_bytes), &release, c10::Device(c10::DeviceType::Meta)};
  }
  void copy_data(void*, const void*, std::size_t) const override {}
};

// Shapes of operations that LibTorch knows on meta tensors only from Python.
at::Tensor index_select(const at::Tensor& self, std::int64_t dim, const at::Tensor& index) {
  std::vector<std::int64_t> shape = self.sizes().vec();
  shape.at(static_cast<std::size_t>(dim)) = index.numel();
  return at::empty(shape, self.options());
}

at::Tensor embedding_dense_backward(const at::Tensor& gradient, const at::Tensor&, std::int64_t num_weights,
                                    std::int64_t, bool) {
  return at::empty({num_weights, gradient.size(-1)}, gradient.options());
}

std::tuple<at::Tensor, at::Tensor> log_sigmoid_forward(const at::Tensor& self) {
  return {at::empty_like(self), at::empty({0}, self.options())};
}

at::Tensor log_sigmoid_backward(const at::Tensor& gradient, const at::Tensor&, const at::Tensor&) {
  return at::empty_like(gradient);
}

at::Tensor& abs_out(const at::Tensor& self, at::Tensor& out) {
  out.resize_(self.sizes());
  return out;
}

/// Whether norms are one operation, as on GPUs, or several that each keep something for backward, as on CPUs.
std::atomic<bool> fused_norms = false;

std::tuple<at::Tensor, at::Tensor> fused_rms_norm(const at::Tensor& input, c10::IntArrayRef normalized_shape,
                                                  const std::optional<at::Tensor>& weight, std::optional<double>) {
  std::vector<std::int64_t> shape = input.sizes().vec();
  std::fill(shape.end() - static_cast<std::ptrdiff_t>(normalized_shape.size()), shape.end(), 1);
  return {at::empty(input.sizes(), weight ? weight->options() : input.options()),
          at::empty(shape, input.options().dtype(at::kFloat))};
}

std::tuple<at::Tensor, at::Tensor> fused_rms_norm_backward(const at::Tensor&, const at::Tensor& input, c10::IntArrayRef,
                                                           const at::Tensor&, const std::optional<at::Tensor>& weight,
                                                           std::array<bool, 2> wanted) {
  return {wanted[0] ? at::empty_like(input) : at::Tensor(),
          wanted[1] && weight ? at::empty_like(*weight) : at::Tensor()};
}

at::Tensor rms_norm(const at::Tensor& input, c10::SymIntArrayRef normalized_shape,
                    const std::optional<at::Tensor>& weight, std::optional<double> epsilon) {
  const auto shape = C10_AS_INTARRAYREF_SLOW(normalized_shape);
  if (fused_norms) return std::get<0>(at::_fused_rms_norm(input, shape, weight, epsilon));
  const at::Tensor scale = (input.square().mean(-1, true) + epsilon.value_or(0)).rsqrt();
  return input * scale * *weight;
}

TORCH_LIBRARY_IMPL(aten, AutogradMeta, library) { library.impl("rms_norm", rms_norm); }

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("rms_norm", rms_norm);
  library.impl("_fused_rms_norm", fused_rms_norm);
  library.impl("_fused_rms_norm_backward", fused_rms_norm_backward);
  library.impl("abs.out", abs_out);
  library.impl("index_select", index_select);
  library.impl("embedding_dense_backward", embedding_dense_backward);
  library.impl("log_sigmoid_forward", log_sigmoid_forward);
  library.impl("log_sigmoid_backward", log_sigmoid_backward);
}

CountingAllocator counting;
c10::Allocator* former = nullptr;

}  // namespace

MetaMemory::MetaMemory(bool fuses_norms) {
  fused_norms = fuses_norms;
  former = c10::GetAllocator(c10::DeviceType::Meta);
  c10::SetAllocator(c10::DeviceType::Meta, &counting, 1);
}

MetaMemory::~MetaMemory() { c10::SetAllocator(c10::DeviceType::Meta, former, 1); }

std::int64_t meta_peak_bytes() { return count.peak; }
void reset_meta_peak() { count.peak = count.now; }

}  // namespace rluf
