#include "rluf/kernels/activations.hpp"

#include <cmath>

#include "rluf/core/error.hpp"
#include "rows.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

using simd::kLanes;
using simd::Lanes;
constexpr std::int64_t kFew = 4;

RLUF_SIMD void rms_norm(const float* x, const float* weight, std::int64_t count, double epsilon, float* out) {
  const std::int64_t whole = count - count % kLanes;
  Lanes squares = {}, values;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    simd::load(values, x + i);
    squares += values * values;
  }
  double sum = simd::sum(squares);
  for (std::int64_t i = whole; i < count; ++i) sum += x[i] * x[i];
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(count) + epsilon));
  for (std::int64_t i = 0; i < count; ++i) out[i] = x[i] * scale * weight[i];
}

RLUF_SIMD void swiglu(const float* gate, const float* up, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    Lanes values = {}, factors = {};
    simd::load(values, gate + i, count - i);
    simd::load(factors, up + i, count - i);
    Lanes exponentials = -values;
    simd::exponential(exponentials);
    values = values / (1.0f + exponentials) * factors;
    simd::store(values, out + i, count - i);
  }
}

}  // namespace

void rms_norm_rows(std::span<const float> x, std::span<const float> weight, double epsilon, std::span<float> out) {
  const auto D = static_cast<std::int64_t>(weight.size()), num_rows = static_cast<std::int64_t>(x.size()) / D;
  RLUF_ASSERT(x.size() == out.size() && static_cast<std::int64_t>(x.size()) == num_rows * D);
  for_rows("rms_norm_rows", num_rows, kFew,
           [=](const std::int64_t r) { rms_norm(x.data() + r * D, weight.data(), D, epsilon, out.data() + r * D); });
}

void swiglu_rows(std::span<const float> gate_up, std::int64_t num_rows, std::span<float> out) {
  const std::int64_t F = static_cast<std::int64_t>(out.size()) / num_rows;
  RLUF_ASSERT(gate_up.size() == 2 * out.size() && static_cast<std::int64_t>(out.size()) == num_rows * F);
  for_rows("swiglu_rows", num_rows, kFew, [=](const std::int64_t r) {
    swiglu(gate_up.data() + r * 2 * F, gate_up.data() + r * 2 * F + F, F, out.data() + r * F);
  });
}

}  // namespace rluf
