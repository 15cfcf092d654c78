#pragma once
/// The model as generation uses it: prompts first, then one token a step for every sequence that still grows.
#include <functional>
#include <memory>
#include <vector>

#include "rluf/model/llama.hpp"
#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Logits after each prompt. @shape [num_prompts, V] float32 on the CPU
  virtual at::Tensor prefill(const std::vector<TokenIds>& prompts) = 0;
  /// Sequence p * num_samples + k continues prompt p. `sequences` are those that got a token, ascending; one that was
  /// left out once never comes back. Logits after the tokens. @shape [num_sequences, V] float32 on the CPU
  virtual at::Tensor step(const std::vector<std::int64_t>& sequences, const std::vector<std::int32_t>& tokens) = 0;
};

/// The matrix that turns hidden states into logits. @throws Error(kBadInput) if the model has score heads instead
const at::Tensor& head_weight(const Llama& model);

/// How much a decoder must hold.
struct DecoderSize {
  std::int64_t num_prompts, num_samples, longest_prompt, max_new_tokens;
};

using DecoderFactory = std::function<std::unique_ptr<Decoder>(const DecoderSize&)>;
/// Decoders of a model that was made by for_inference(); they share what is prepared here. The host's run on this
/// project's kernels: a sequence's result in float32 does not depend on the others. The device's run on LibTorch.
/// `for_many_prompts`: packs bfloat16 weights, which takes as long as the prefill of one prompt.
DecoderFactory host_decoders(const Llama& model, bool for_many_prompts);
DecoderFactory device_decoders(const Llama& model);

}  // namespace rluf
