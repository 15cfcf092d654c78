#pragma once
/// What the GPU tests share: they skip without a GPU, and compare a small Llama on it with the same one on the CPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "rluf/model/llama.hpp"

namespace rluf {

/// RLUF_GPU_TEST_DEVICE=cpu runs the comparisons of CPU with CPU: it tests the tests where no GPU is.
class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    const char* chosen = std::getenv("RLUF_GPU_TEST_DEVICE");
    if (chosen != nullptr && std::string(chosen) == "cpu")
      gpu = at::kCPU;
    else if (!at::hasCUDA())
      GTEST_SKIP() << "no GPU on this machine (or no driver for it)";
  }
  void need_gpu() {
    if (!IsSkipped() && gpu.is_cpu()) GTEST_SKIP() << "this one says nothing on a CPU";
  }
  at::Device gpu{at::kCUDA, 0};
};

inline LlamaConfig small_llama() {
  LlamaConfig config;
  config.vocab_size = 512;
  config.hidden_size = 64;
  config.intermediate_size = 160;
  config.num_layers = 3;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = 256;
  config.eos_token_ids = {1};
  return config;
}

/// Pseudo-random token ids, the same everywhere. Never the end mark, 1.
inline std::vector<std::vector<std::int32_t>> documents_of_lengths(const std::vector<std::int64_t>& lengths,
                                                                   std::int64_t vocab_size) {
  std::vector<std::vector<std::int32_t>> documents;
  std::uint64_t state = 12345;
  for (const std::int64_t length : lengths) {
    auto& document = documents.emplace_back();
    for (std::int64_t t = 0; t < length; ++t) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      document.push_back(2 + static_cast<std::int32_t>((state >> 33) % static_cast<std::uint64_t>(vocab_size - 2)));
    }
  }
  return documents;
}

/// Largest difference, relative to the largest value of `expected`.
inline double relative_difference(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor wanted = expected.detach().to(at::kCPU, at::kDouble);
  const double scale = std::max(1e-12, wanted.abs().max().item<double>());
  return (found.detach().to(at::kCPU, at::kDouble) - wanted).abs().max().item<double>() / scale;
}

/// Seconds of one call, device work included; the first call, which compiles and allocates, is not counted.
template <class Action>
double seconds_of(int repeats, const Action& action) {
  action();
  at::detail::getCUDAHooks().deviceSynchronize(0);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) action();
  at::detail::getCUDAHooks().deviceSynchronize(0);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
}

/// A line that tests/gpu.sh collects.
inline void figure(const std::string& what, double value, const char* unit) {
  std::printf("figure: %-44s %12.4g %s\n", what.c_str(), value, unit);
}

}  // namespace rluf
