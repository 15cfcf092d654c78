// Shape letters as in llama.cpp; R rows, the tokens of a step.
#include <torch/torch.h>

#include <algorithm>

#include "decoder.hpp"
#include "rluf/core/error.hpp"
#include "rluf/kernels/activations.hpp"
#include "rluf/kernels/linear.hpp"
#include "rluf/kernels/paged_attention.hpp"

namespace rluf {
namespace {

std::span<const float> floats(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
}

/// Weight matrices that multiply the same rows; their results stand side by side.
using Projection = std::vector<WeightMatrix>;

Projection projection(std::initializer_list<at::Tensor> weights) {
  Projection matrices;
  for (const at::Tensor& weight : weights) {
    RLUF_ASSERT(weight.is_contiguous());
    matrices.push_back({weight.const_data_ptr(), weight.scalar_type() == torch::kBFloat16, weight.size(0)});
  }
  return matrices;
}

struct Layer {
  at::Tensor input_norm;
  Projection qkv, o;
  at::Tensor post_norm;
  Projection gate_up, down;
};

class HostDecoder : public Decoder {
 public:
  HostDecoder(const Llama& model, std::int64_t num_blocks)
      : model_(model),
        config_(model_.part_config()),
        axis_(tensor_axis(model_)),
        head_(projection({head_weight(model_)})) {
    auto next = model_.parameters().begin();  // in the order in which the model holds them
    const auto take = [&] { return (next++)->second; };
    take();  // the embedding
    for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
      layers_.push_back({.input_norm = take(),
                         .qkv = projection({take(), take(), take()}),
                         .o = projection({take()}),
                         .post_norm = take(),
                         .gate_up = projection({take(), take()}),
                         .down = projection({take()})});
      caches_.emplace_back(CacheShape{config_.num_heads, config_.num_kv_heads, config_.head_dim}, num_blocks);
    }
    final_norm_ = take();
  }

  at::Tensor step(const StepPlan& plan) override {
    for (const auto& [from, to] : plan.copies)
      for (PagedCache& cache : caches_) cache.copy_block(from, to);
    place(plan.runs);
    transform();
    return logits(plan.runs);
  }

 private:
  /// The rows of a step: hidden states, places in the cache and rotary angles.
  void place(const std::vector<Run>& runs) {
    const auto K = static_cast<std::size_t>(config_.head_dim);
    const auto cos = floats(model_.rope_cos()), sin = floats(model_.rope_sin());
    std::vector<std::int64_t> tokens;
    rows_.clear();
    cos_.clear();
    sin_.clear();
    for (const Run& run : runs) {
      const std::size_t first = static_cast<std::size_t>(run.first) * K, count = run.tokens.size() * K;
      cos_.insert(cos_.end(), cos.begin() + static_cast<std::ptrdiff_t>(first),
                  cos.begin() + static_cast<std::ptrdiff_t>(first + count));
      sin_.insert(sin_.end(), sin.begin() + static_cast<std::ptrdiff_t>(first),
                  sin.begin() + static_cast<std::ptrdiff_t>(first + count));
      for (std::int64_t t = 0; t < std::ssize(run.tokens); ++t) rows_.push_back({run.blocks.data(), run.first + t});
      tokens.insert(tokens.end(), run.tokens.begin(), run.tokens.end());
    }
    const at::Tensor x_RD = model_.embed(torch::tensor(tokens, torch::kInt64));
    x_.assign(floats(x_RD).begin(), floats(x_RD).end());
  }

  /// All layers and the last norm, from x_ to normed_.
  void transform() {
    const std::int64_t H = config_.num_heads, G = config_.num_kv_heads, K = config_.head_dim, D = config_.hidden_size;
    const std::int64_t F = config_.intermediate_size, R = std::ssize(rows_);
    const std::span<float> x_RD(x_), normed_RD = sized(normed_, R * D), qkv = sized(qkv_, R * (H + 2 * G) * K);
    const std::span<float> attended = sized(attended_, R * H * K), gate_up = sized(gate_up_, 2 * R * F);
    const std::span<float> activated = sized(activated_, R * F);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      rms_norm_rows(x_RD, floats(layer.input_norm), config_.rms_norm_eps, normed_RD);
      linear_rows(normed_RD, D, layer.qkv, qkv);
      paged_attention(caches_[l], rows_, cos_, sin_, qkv, attended);
      add_product(attended, H * K, layer.o, x_RD);
      rms_norm_rows(x_RD, floats(layer.post_norm), config_.rms_norm_eps, normed_RD);
      linear_rows(normed_RD, D, layer.gate_up, gate_up);
      swiglu_rows(gate_up, R, activated);
      add_product(activated, F, layer.down, x_RD);
    }
    rms_norm_rows(x_RD, floats(final_norm_), config_.rms_norm_eps, normed_RD);
  }

  /// x += the product, of which each rank of the tensor axis has a part of the inputs.
  void add_product(std::span<const float> inputs, std::int64_t num_inputs, const Projection& matrices,
                   std::span<float> x) {
    if (axis_ == nullptr) return linear_rows(inputs, num_inputs, matrices, x, Store::kAdd);
    at::Tensor part = torch::empty({static_cast<std::int64_t>(x.size())});
    linear_rows(inputs, num_inputs, matrices, {part.data_ptr<float>(), x.size()});
    axis_->all_reduce(part);
    torch::from_blob(x.data(), part.sizes()).add_(part);
  }

  at::Tensor logits(const std::vector<Run>& runs) {
    const auto D = static_cast<std::size_t>(config_.hidden_size);
    std::vector<float> last_rows;
    std::size_t row = 0;
    for (const Run& run : runs) {
      row += run.tokens.size();
      if (run.draws.empty()) continue;
      const auto last = normed_.begin() + static_cast<std::ptrdiff_t>((row - 1) * D);
      last_rows.insert(last_rows.end(), last, last + static_cast<std::ptrdiff_t>(D));
    }
    const auto num_rows = static_cast<std::int64_t>(last_rows.size() / D);
    if (!logits_.defined() || logits_.size(0) < num_rows) logits_ = torch::empty({num_rows, head_[0].num_outputs});
    at::Tensor logits_RV = logits_.narrow(0, 0, num_rows);
    linear_rows(last_rows, config_.hidden_size, head_,
                {logits_RV.data_ptr<float>(), static_cast<std::size_t>(logits_RV.numel())});
    return model_.joined_logits(logits_RV);
  }

  static const Communicator* tensor_axis(const Llama& model) {
    return model.layout() && model.layout()->grid.tensor.size() > 1 ? &model.layout()->grid.tensor : nullptr;
  }

  static std::span<float> sized(std::vector<float>& buffer, std::int64_t count) {
    buffer.resize(static_cast<std::size_t>(count));
    return buffer;
  }

  const Llama model_;
  const LlamaConfig config_;  ///< of this rank's part
  const Communicator* axis_;  ///< null: this rank has all parts
  at::Tensor final_norm_;
  std::vector<Layer> layers_;
  Projection head_;
  std::vector<PagedCache> caches_;  ///< one a layer
  at::Tensor logits_;               ///< kept from step to step
  std::vector<AttentionRow> rows_;
  std::vector<float> cos_, sin_, x_, normed_, qkv_, attended_, gate_up_, activated_;
};

}  // namespace

std::unique_ptr<Decoder> host_decoder(const Llama& model, std::int64_t num_blocks) {
  return std::make_unique<HostDecoder>(model, num_blocks);
}

std::int64_t cache_block_bytes(const LlamaConfig& config) {
  return static_cast<std::int64_t>(sizeof(float)) * 2 * config.num_layers * config.num_kv_heads * config.head_dim *
         kBlockTokens;
}

}  // namespace rluf
