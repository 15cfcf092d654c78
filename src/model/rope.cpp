#include "rope.hpp"

#include <torch/torch.h>

#include <cmath>
#include <numbers>

namespace rluf {
namespace {

/// Rotary frequencies with Llama 3's stretching of the low ones. @shape [head_dim / 2]
std::vector<double> rope_frequencies(const LlamaConfig& config) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < config.head_dim; i += 2) {
    double frequency = 1.0 / std::pow(config.rope_theta, static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope_scaling) {
      const RopeScaling& scaling = *config.rope_scaling;
      const double original = static_cast<double>(scaling.original_max_position_embeddings);
      const double wavelength = 2 * std::numbers::pi / frequency;
      if (wavelength > original / scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (wavelength > original / scaling.high_freq_factor) {
        const double smooth =
            (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency = (1 - smooth) * frequency / scaling.factor + smooth * frequency;
      }
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> rope_tables(const LlamaConfig& config, std::int64_t num_positions,
                                              at::Device device) {
  const at::Device place = device.is_meta() ? device : at::Device(at::kCPU);  // without a GPU's cosine
  const auto frequencies = torch::tensor(rope_frequencies(config), torch::kFloat64).to(place);
  const auto positions = torch::arange(num_positions, torch::TensorOptions(torch::kFloat64).device(place));
  const auto angles = torch::outer(positions, frequencies);  // [positions, K / 2]
  const auto table = [&](const at::Tensor& half) { return half.to(torch::kFloat32).repeat({1, 2}).to(device); };
  return {table(angles.cos()), table(angles.sin())};
}

}  // namespace rluf
