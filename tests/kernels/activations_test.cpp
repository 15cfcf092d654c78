#include "rluf/kernels/activations.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(RmsNormRows, EqualsTheFormula) {
  RandomStream random(1, Purpose::kSimulation);
  constexpr std::size_t kRows = 6, kWidth = 37;
  std::vector<float> x(kRows * kWidth), weight(kWidth), out(kRows * kWidth);
  for (float& value : x) value = static_cast<float>(random.normal());
  for (float& value : weight) value = static_cast<float>(random.normal());
  rms_norm_rows(x, weight, 1e-5, out);
  for (std::size_t r = 0; r < kRows; ++r) {
    double squares = 0;
    for (std::size_t i = 0; i < kWidth; ++i) squares += std::pow(x[r * kWidth + i], 2);
    for (std::size_t i = 0; i < kWidth; ++i)
      EXPECT_NEAR(out[r * kWidth + i], x[r * kWidth + i] / std::sqrt(squares / kWidth + 1e-5) * weight[i], 1e-5);
  }
}

TEST(SwigluRows, EqualsTheFormulaAlsoFarOut) {
  constexpr std::size_t kRows = 5, kWidth = 19;
  std::vector<float> gate_up(kRows * 2 * kWidth), out(kRows * kWidth);
  for (std::size_t i = 0; i < gate_up.size(); ++i) gate_up[i] = static_cast<float>(i) - 95.0f;
  gate_up[0] = -1000.0f;
  gate_up[1] = 1000.0f;
  swiglu_rows(gate_up, kRows, out);
  for (std::size_t r = 0; r < kRows; ++r)
    for (std::size_t i = 0; i < kWidth; ++i) {
      const double gate = gate_up[r * 2 * kWidth + i], up = gate_up[r * 2 * kWidth + kWidth + i];
      const double expected = gate / (1 + std::exp(-gate)) * up;
      EXPECT_NEAR(out[r * kWidth + i], expected, 1e-6 * std::abs(expected) + 1e-6);
    }
}

}  // namespace
}  // namespace rluf
