// Shape letters as in llama.cpp; S sequences that get a token, P prompts, R rows: of a prompt, or one a sequence.
#include <torch/torch.h>

#include <algorithm>

#include "decoder.hpp"
#include "packed_linear.hpp"
#include "rluf/core/error.hpp"
#include "rluf/kernels/activations.hpp"
#include "rluf/kernels/decode.hpp"
#include "rluf/kernels/linear.hpp"
#include "rluf/model/packed_ops.hpp"
#include "rope.hpp"

namespace rluf {
namespace {

/// From this number of rows on oneDNN's bfloat16 products win: they use the processor's bfloat16 instructions, where
/// linear_rows reads the weights at the memory's speed and computes in float32.
constexpr std::int64_t kManyRows = 8;

std::span<const float> floats(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// Weight matrices that multiply the same rows; their results stand side by side.
struct Projection {
  std::vector<at::Tensor> weights;
  std::vector<WeightMatrix> matrices;
  at::Tensor packed;  ///< all of them for oneDNN, if that was asked for and they are bfloat16

  Projection(std::vector<at::Tensor> of, bool pack) : weights(std::move(of)) {
    for (const at::Tensor& weight : weights) {
      RLUF_ASSERT(weight.is_contiguous());
      matrices.push_back({weight.const_data_ptr(), weight.scalar_type() == torch::kBFloat16, weight.size(0)});
    }
    if (pack && matrices[0].is_bfloat16) packed = pack_linear_weight(torch::cat(weights), 4 * kManyRows);
  }

  /// @shape x [num_rows, num_inputs], out [num_rows, all outputs]
  void apply(std::span<const float> x, std::int64_t num_rows, std::span<float> out, Store store) const {
    const std::int64_t num_inputs = static_cast<std::int64_t>(x.size()) / num_rows;
    if (!matrices[0].is_bfloat16 || num_rows < kManyRows) return linear_rows(x, num_inputs, matrices, out, store);
    const at::Tensor rows = torch::from_blob(const_cast<float*>(x.data()), {num_rows, num_inputs}).to(torch::kBFloat16);
    const at::Tensor results =
        torch::from_blob(out.data(), {num_rows, static_cast<std::int64_t>(out.size()) / num_rows});
    const auto put = [&](at::Tensor to, const at::Tensor& product) {
      if (store == Store::kAdd) {
        to.add_(product);
      } else {
        to.copy_(product);
      }
    };
    if (packed.defined()) return put(results, packed_linear(rows, packed));
    std::int64_t column = 0;
    for (const at::Tensor& weight : weights) {
      put(results.narrow(1, column, weight.size(0)), at::linear(rows, weight));
      column += weight.size(0);
    }
  }
};

struct Layer {
  at::Tensor input_norm;
  Projection qkv, o;
  at::Tensor post_norm;
  Projection gate_up, down;
};

/// A model's weights as this decoder reads them.
struct HostWeights {
  Llama model;
  at::Tensor embedding, final_norm;
  std::vector<Layer> layers;
  Projection head;

  HostWeights(const Llama& of, bool pack) : model(of), head({head_weight(model)}, pack) {
    auto next = model.parameters().begin();  // in the order in which the model holds them
    const auto take = [&] { return (next++)->second; };
    embedding = take();
    for (std::int64_t layer = 0; layer < model.config().num_layers; ++layer)
      layers.push_back({.input_norm = take(),
                        .qkv = Projection({take(), take(), take()}, pack),
                        .o = Projection({take()}, pack),
                        .post_norm = take(),
                        .gate_up = Projection({take(), take()}, pack),
                        .down = Projection({take()}, pack)});
    final_norm = take();
  }
};

class HostDecoder : public Decoder {
 public:
  HostDecoder(std::shared_ptr<const HostWeights> weights, const DecoderSize& size)
      : weights_(std::move(weights)), config_(weights_->model.config()), size_(size) {
    const DecodeShape shape{config_.num_heads, config_.num_kv_heads, config_.head_dim, size.longest_prompt,
                            size.max_new_tokens};
    for (std::int64_t layer = 0; layer < config_.num_layers; ++layer)
      caches_.emplace_back(shape, size.num_prompts, size.num_prompts * size.num_samples);
    std::tie(cos_, sin_) = rope_tables(config_, size.longest_prompt + size.max_new_tokens, torch::kCPU);
  }

  at::Tensor prefill(const std::vector<TokenIds>& prompts) override {
    const std::int64_t H = config_.num_heads, G = config_.num_kv_heads, K = config_.head_dim;
    std::vector<float> last_rows;
    for (std::size_t p = 0; p < prompts.size(); ++p) {  // one by one, so that no prompt's numbers depend on the others
      const auto T = static_cast<std::int64_t>(prompts[p].size());
      prompt_lengths_.push_back(T);
      const at::Tensor cos_T1K = cos_.narrow(0, 0, T).unsqueeze(1), sin_T1K = sin_.narrow(0, 0, T).unsqueeze(1);
      embed(prompts[p]);
      transform(T, [&](std::size_t layer, std::span<float> qkv, std::span<float> attended) {
        const at::Tensor rows = torch::from_blob(qkv.data(), {T, H + 2 * G, K});
        const at::Tensor q_THK = apply_rope(rows.narrow(1, 0, H), cos_T1K, sin_T1K);
        const at::Tensor k_TGK = apply_rope(rows.narrow(1, H, G), cos_T1K, sin_T1K).contiguous();
        const at::Tensor v_TGK = rows.narrow(1, H + G, G).contiguous();
        caches_[layer].set_prompt(static_cast<std::int64_t>(p), floats(k_TGK), floats(v_TGK));
        torch::from_blob(attended.data(), {T, H, K}).copy_(packed_attention(q_THK, k_TGK, v_TGK, {0, T}));
      });
      last_rows.insert(last_rows.end(), normed_.end() - config_.hidden_size, normed_.end());
    }
    return logits(last_rows, static_cast<std::int64_t>(prompts.size()));
  }

  at::Tensor step(const std::vector<std::int64_t>& sequences, const std::vector<std::int32_t>& tokens) override {
    const auto S = static_cast<std::int64_t>(sequences.size());
    place(sequences);
    embed(tokens);
    transform(S, [&](std::size_t layer, std::span<float> qkv, std::span<float> attended) {
      decode_attention(caches_[layer], places_, row_cos_, row_sin_, qkv, attended);
    });
    ++num_steps_;
    return logits(normed_, S);
  }

 private:
  /// All layers and the last norm, from x_ to normed_. attend(layer, qkv [R, (H + 2 G) K], out [R, H K])
  template <class Attend>
  void transform(std::int64_t num_rows, const Attend& attend) {
    const std::int64_t H = config_.num_heads, G = config_.num_kv_heads, K = config_.head_dim;
    const std::span<float> x_RD(x_), normed_RD = sized(normed_, num_rows * config_.hidden_size);
    const std::span<float> qkv = sized(qkv_, num_rows * (H + 2 * G) * K);
    const std::span<float> attended = sized(attended_, num_rows * H * K);
    const std::span<float> gate_up = sized(gate_up_, 2 * num_rows * config_.intermediate_size);
    const std::span<float> activated = sized(activated_, num_rows * config_.intermediate_size);
    for (std::size_t l = 0; l < weights_->layers.size(); ++l) {
      const Layer& layer = weights_->layers[l];
      rms_norm_rows(x_RD, floats(layer.input_norm), config_.rms_norm_eps, normed_RD);
      layer.qkv.apply(normed_RD, num_rows, qkv, Store::kReplace);
      attend(l, qkv, attended);
      layer.o.apply(attended, num_rows, x_RD, Store::kAdd);
      rms_norm_rows(x_RD, floats(layer.post_norm), config_.rms_norm_eps, normed_RD);
      layer.gate_up.apply(normed_RD, num_rows, gate_up, Store::kReplace);
      swiglu_rows(gate_up, num_rows, activated);
      layer.down.apply(activated, num_rows, x_RD, Store::kAdd);
    }
    rms_norm_rows(x_RD, floats(weights_->final_norm), config_.rms_norm_eps, normed_RD);
  }

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
    const at::Tensor rows_SD =
        at::embedding(weights_->embedding, torch::tensor(tokens, torch::kInt64)).to(torch::kFloat32);
    x_.assign(floats(rows_SD).begin(), floats(rows_SD).end());
  }

  at::Tensor logits(std::span<const float> hidden, std::int64_t num_rows) {
    at::Tensor logits_RV = torch::empty({num_rows, config_.vocab_size});
    weights_->head.apply(hidden, num_rows, {logits_RV.data_ptr<float>(), static_cast<std::size_t>(logits_RV.numel())},
                         Store::kReplace);
    return logits_RV;
  }

  static std::span<float> sized(std::vector<float>& buffer, std::int64_t count) {
    buffer.resize(static_cast<std::size_t>(count));
    return buffer;
  }

  const std::shared_ptr<const HostWeights> weights_;
  const LlamaConfig& config_;
  DecoderSize size_;
  at::Tensor cos_, sin_;
  std::vector<DecodeCache> caches_;
  std::vector<std::int64_t> prompt_lengths_;
  std::int64_t num_steps_ = 0;
  std::vector<DecodeSequence> places_;
  std::vector<float> row_cos_, row_sin_, x_, normed_, qkv_, attended_, gate_up_, activated_;
};

}  // namespace

DecoderFactory host_decoders(const Llama& model, bool for_many_prompts) {
  return [weights = std::make_shared<const HostWeights>(model, for_many_prompts)](const DecoderSize& size) {
    return std::make_unique<HostDecoder>(weights, size);
  };
}

}  // namespace rluf
