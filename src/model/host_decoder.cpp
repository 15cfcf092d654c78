// Shape letters as in llama.cpp; S sequences that get a token, P prompts.
#include <torch/torch.h>

#include <algorithm>

#include "decoder.hpp"
#include "rluf/core/error.hpp"
#include "rluf/kernels/activations.hpp"
#include "rluf/kernels/decode.hpp"
#include "rluf/kernels/linear.hpp"
#include "rluf/model/packed_ops.hpp"
#include "rope.hpp"

namespace rluf {
namespace {

/// From this number of rows on LibTorch's bfloat16 products win: they use the processor's bfloat16 instructions, where
/// linear_rows reads the weights at the memory's speed and computes in float32.
constexpr std::int64_t kManyRows = 8;

std::span<const float> floats(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

WeightMatrix matrix(const at::Tensor& weight) {
  RLUF_ASSERT(weight.is_contiguous());
  return {weight.const_data_ptr(), weight.scalar_type() == torch::kBFloat16, weight.size(0)};
}

/// One layer's weights, in the order in which the model holds them.
struct Layer {
  at::Tensor input_norm, q, k, v, o, post_norm, gate, up, down;
};

class HostDecoder : public Decoder {
 public:
  HostDecoder(const Llama& model, const DecoderSize& size)
      : model_(model), config_(model.config()), size_(size), head_(head_weight(model)) {
    auto next = model_.parameters().begin();
    const auto take = [&] { return (next++)->second; };
    embedding_ = take();
    const DecodeShape shape{config_.num_heads, config_.num_kv_heads, config_.head_dim, size.longest_prompt,
                            size.max_new_tokens};
    for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
      layers_.push_back({take(), take(), take(), take(), take(), take(), take(), take(), take()});
      caches_.emplace_back(shape, size.num_prompts, size.num_prompts * size.num_samples);
    }
    final_norm_ = take();
    std::tie(cos_, sin_) = rope_tables(config_, size.longest_prompt + size.max_new_tokens, torch::kCPU);
  }

  at::Tensor prefill(const std::vector<TokenIds>& prompts) override {
    std::vector<at::Tensor> last_rows;
    for (std::size_t p = 0; p < prompts.size(); ++p) {  // one by one, so that no prompt's numbers depend on the others
      const auto length = static_cast<std::int64_t>(prompts[p].size());
      prompt_lengths_.push_back(length);
      const auto keep = [&](std::int64_t layer, const at::Tensor& q_THK, const at::Tensor& k_TGK,
                            const at::Tensor& v_TGK) {
        const at::Tensor keys = k_TGK.to(torch::kFloat32).contiguous();
        const at::Tensor values = v_TGK.to(torch::kFloat32).contiguous();
        caches_[static_cast<std::size_t>(layer)].set_prompt(static_cast<std::int64_t>(p), floats(keys), floats(values));
        return packed_attention(q_THK, k_TGK, v_TGK, {0, length});
      };
      const at::Tensor hidden_TD = model_.transform(PackedBatch::from({prompts[p]}, torch::kCPU).tokens,
                                                    torch::arange(length, torch::kInt64), keep);
      last_rows.push_back(hidden_TD.slice(0, length - 1, length));
    }
    const at::Tensor hidden_PD = torch::cat(last_rows).to(torch::kFloat32);
    return logits(floats(hidden_PD), hidden_PD.size(0));
  }

  at::Tensor step(const std::vector<std::int64_t>& sequences, const std::vector<std::int32_t>& tokens) override {
    const auto S = static_cast<std::int64_t>(sequences.size());
    place(sequences);
    embed(tokens);
    const std::int64_t H = config_.num_heads, G = config_.num_kv_heads, K = config_.head_dim;
    const std::span<float> x_SD(x_), normed_SD = sized(normed_, S * config_.hidden_size);
    const std::span<float> qkv = sized(qkv_, S * (H + 2 * G) * K), attended = sized(attended_, S * H * K);
    const std::span<float> gate_up = sized(gate_up_, 2 * S * config_.intermediate_size);
    const std::span<float> activated = sized(activated_, S * config_.intermediate_size);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      rms_norm_rows(x_SD, floats(layer.input_norm), config_.rms_norm_eps, normed_SD);
      product(normed_SD, S, {&layer.q, &layer.k, &layer.v}, qkv, Store::kReplace);
      decode_attention(caches_[l], places_, row_cos_, row_sin_, qkv, attended);
      product(attended, S, {&layer.o}, x_SD, Store::kAdd);
      rms_norm_rows(x_SD, floats(layer.post_norm), config_.rms_norm_eps, normed_SD);
      product(normed_SD, S, {&layer.gate, &layer.up}, gate_up, Store::kReplace);
      swiglu_rows(gate_up, S, activated);
      product(activated, S, {&layer.down}, x_SD, Store::kAdd);
    }
    rms_norm_rows(x_SD, floats(final_norm_), config_.rms_norm_eps, normed_SD);
    ++num_steps_;
    return logits(normed_SD, S);
  }

 private:
  /// Where the sequences stand in the cache, and the rotary angles of their next positions.
  void place(const std::vector<std::int64_t>& sequences) {
    const auto K = static_cast<std::size_t>(config_.head_dim);
    places_.clear();
    row_cos_.clear();
    row_sin_.clear();
    for (const std::int64_t sequence : sequences) {
      const std::int64_t prompt = sequence / size_.num_samples,
                         length = prompt_lengths_[static_cast<std::size_t>(prompt)];
      places_.push_back({prompt, length, sequence, num_steps_});
      const auto angle = static_cast<std::size_t>(length + num_steps_) * K;
      const auto cos = floats(cos_).subspan(angle, K), sin = floats(sin_).subspan(angle, K);
      row_cos_.insert(row_cos_.end(), cos.begin(), cos.end());
      row_sin_.insert(row_sin_.end(), sin.begin(), sin.end());
    }
  }

  void embed(const std::vector<std::int32_t>& tokens) {
    const at::Tensor rows_SD = at::embedding(embedding_, torch::tensor(tokens, torch::kInt64)).to(torch::kFloat32);
    x_.assign(floats(rows_SD).begin(), floats(rows_SD).end());
  }

  at::Tensor logits(std::span<const float> hidden, std::int64_t num_rows) {
    at::Tensor logits_SV = torch::empty({num_rows, config_.vocab_size});
    product(hidden, num_rows, {&head_}, {logits_SV.data_ptr<float>(), static_cast<std::size_t>(logits_SV.numel())},
            Store::kReplace);
    return logits_SV;
  }

  /// Rows times several weight matrices, side by side.
  void product(std::span<const float> x, std::int64_t num_rows, std::initializer_list<const at::Tensor*> weights,
               std::span<float> out, Store store) {
    const std::int64_t num_inputs = static_cast<std::int64_t>(x.size()) / num_rows;
    if (model_.compute_type() == torch::kFloat32 || num_rows < kManyRows) {
      matrices_.clear();
      for (const at::Tensor* weight : weights) matrices_.push_back(matrix(*weight));
      linear_rows(x, num_inputs, matrices_, out, store);
      return;
    }
    const at::Tensor rows = torch::from_blob(const_cast<float*>(x.data()), {num_rows, num_inputs});
    const at::Tensor typed = rows.to(model_.compute_type());
    const at::Tensor results =
        torch::from_blob(out.data(), {num_rows, static_cast<std::int64_t>(out.size()) / num_rows});
    std::int64_t column = 0;
    for (const at::Tensor* weight : weights) {
      const at::Tensor part = results.narrow(1, column, weight->size(0));
      column += weight->size(0);
      const at::Tensor result = at::linear(typed, *weight);
      if (store == Store::kAdd)
        part.add_(result);
      else
        part.copy_(result);
    }
  }

  static std::span<float> sized(std::vector<float>& buffer, std::int64_t count) {
    buffer.resize(static_cast<std::size_t>(count));
    return buffer;
  }

  const Llama model_;
  const LlamaConfig& config_;
  DecoderSize size_;
  at::Tensor embedding_, final_norm_, head_, cos_, sin_;
  std::vector<Layer> layers_;
  std::vector<DecodeCache> caches_;
  std::vector<std::int64_t> prompt_lengths_;
  std::int64_t num_steps_ = 0;
  std::vector<DecodeSequence> places_;
  std::vector<WeightMatrix> matrices_;
  std::vector<float> row_cos_, row_sin_, x_, normed_, qkv_, attended_, gate_up_, activated_;
};

}  // namespace

std::unique_ptr<Decoder> make_host_decoder(const Llama& model, const DecoderSize& size) {
  return std::make_unique<HostDecoder>(model, size);
}

}  // namespace rluf
