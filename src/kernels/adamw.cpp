// Compiled without contraction into fused multiply-adds (src/CMakeLists.txt): whether a compiler contracts may differ
// between the vectors of a loop and its last elements.
#include "rluf/kernels/adamw.hpp"

#include <cmath>

#include "rluf/core/error.hpp"
#include "rows.hpp"
#include "simd.hpp"

namespace rluf {
namespace {

struct Factors {
  float decay, beta1, rest1, beta2, rest2, step_size, correction2, epsilon, gradient_scale;
};

RLUF_SIMD void update(float* weights, const float* gradients, float* first, float* second, std::int64_t count,
                      const Factors& f) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float gradient = gradients[i] * f.gradient_scale;
    first[i] = first[i] * f.beta1 + gradient * f.rest1;
    second[i] = second[i] * f.beta2 + gradient * gradient * f.rest2;
    weights[i] = weights[i] * f.decay - f.step_size * first[i] / (std::sqrt(second[i]) / f.correction2 + f.epsilon);
  }
}

}  // namespace

void adamw_update(std::span<float> weights, std::span<const float> gradients, std::span<float> first,
                  std::span<float> second, const AdamWRates& rates) {
  const std::size_t n = weights.size();
  RLUF_ASSERT(gradients.size() == n && first.size() == n && second.size() == n && rates.step > 0);
  const auto t = static_cast<double>(rates.step);
  const Factors factors{static_cast<float>(1 - rates.learning_rate * rates.weight_decay),
                        static_cast<float>(rates.beta1),
                        static_cast<float>(1 - rates.beta1),
                        static_cast<float>(rates.beta2),
                        static_cast<float>(1 - rates.beta2),
                        static_cast<float>(rates.learning_rate / (1 - std::pow(rates.beta1, t))),
                        static_cast<float>(std::sqrt(1 - std::pow(rates.beta2, t))),
                        static_cast<float>(rates.epsilon),
                        static_cast<float>(rates.gradient_scale)};
  for_blocks("adamw_update", static_cast<std::int64_t>(n), [&](std::size_t, std::int64_t from, std::int64_t count) {
    update(weights.data() + from, gradients.data() + from, first.data() + from, second.data() + from, count, factors);
  });
}

}  // namespace rluf
