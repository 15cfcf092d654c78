#pragma once
#include <utility>

#include "rluf/model/llama.hpp"

namespace rluf {

/// Cosines and sines of the rotary angles. @shape both [num_positions, head_dim] float32
std::pair<at::Tensor, at::Tensor> rope_tables(const LlamaConfig& config, std::int64_t num_positions, at::Device device);

}  // namespace rluf
