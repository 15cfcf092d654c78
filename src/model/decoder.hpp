#pragma once
/// The model as generation uses it: some tokens of some sequences a step, with keys and values in blocks.
#include <memory>

#include "rluf/model/llama.hpp"
#include "rluf/model/scheduler.hpp"

namespace rluf {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Logits after the last token of each run that draws, in their order; good until the next step.
  /// @shape [runs that draw, V] float32 on the CPU
  virtual at::Tensor step(const StepPlan& plan) = 0;
};

/// The matrix that turns hidden states into logits. @throws Error(kBadInput) if the model has score heads instead
const at::Tensor& head_weight(const Llama& model);

/// Keys and values of a block of kBlockTokens tokens, all layers, float32. @unit bytes
std::int64_t cache_block_bytes(const LlamaConfig& config);

/// Decoders of a model that was made by for_inference(). The host's runs on this project's kernels: a sequence's result
/// does not depend on the others, on chunks, nor on the number of threads. The device's runs on LibTorch, wherever the
/// model is.
std::unique_ptr<Decoder> host_decoder(const Llama& model, std::int64_t num_blocks);
std::unique_ptr<Decoder> device_decoder(const Llama& model, std::int64_t num_blocks);

}  // namespace rluf
