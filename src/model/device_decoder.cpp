// Shape letters as in llama.cpp; S sequences being decoded, C capacity of the cache, P prompts.
#include <torch/torch.h>

#include <algorithm>

#include "decoder.hpp"
#include "rluf/model/packed_ops.hpp"

namespace rluf {
namespace {

/// Keys and values of all sequences, float32 [S, G, C, K], one a layer; prompts are copied to each of their samples.
class DeviceDecoder : public Decoder {
 public:
  DeviceDecoder(const Llama& model, const DecoderSize& size) : model_(model), num_samples_(size.num_samples) {
    const LlamaConfig& config = model.config();
    const std::vector<std::int64_t> shape{size.num_prompts * size.num_samples, config.num_kv_heads,
                                          size.longest_prompt + size.max_new_tokens, config.head_dim};
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
      keys_.push_back(torch::zeros(shape, torch::TensorOptions(model.device())));
      values_.push_back(torch::zeros(shape, torch::TensorOptions(model.device())));
    }
  }

  at::Tensor prefill(const std::vector<TokenIds>& prompts) override {
    const PackedBatch batch = PackedBatch::from(prompts, model_.device());
    std::vector<std::int64_t> positions, last_rows;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      const auto length = static_cast<std::int64_t>(prompts[p].size());
      for (std::int64_t t = 0; t < length; ++t) positions.push_back(t);
      last_rows.push_back(batch.offsets[p + 1] - 1);
      for (std::int64_t k = 0; k < num_samples_; ++k) {
        sequences_.push_back(static_cast<std::int64_t>(p) * num_samples_ + k);
        lengths_.push_back(length);
      }
    }
    const auto keep = [&](std::int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      const auto l = static_cast<std::size_t>(layer);
      for (std::size_t p = 0; p < prompts.size(); ++p) {
        copy_prompt(keys_[l], p, k.slice(0, batch.offsets[p], batch.offsets[p + 1]));
        copy_prompt(values_[l], p, v.slice(0, batch.offsets[p], batch.offsets[p + 1]));
      }
      return packed_attention(q, k, v, batch.offsets);
    };
    const at::Tensor hidden_TD = model_.transform(batch.tokens, on_device(positions), keep);
    return model_.logits(hidden_TD.index_select(0, on_device(last_rows))).to(torch::kCPU).contiguous();
  }

  at::Tensor step(const std::vector<std::int64_t>& sequences, const std::vector<std::int32_t>& tokens) override {
    if (sequences.size() < sequences_.size()) drop_others(sequences);
    const at::Tensor lengths_S = on_device(lengths_);
    const std::int64_t longest = *std::max_element(lengths_.begin(), lengths_.end()) + 1;
    const at::Tensor mask = torch::arange(longest, lengths_S.options())
                                .view({1, 1, 1, longest})
                                .le(lengths_S.view({lengths_S.size(0), 1, 1, 1}));
    const auto attend = [&](std::int64_t layer, const at::Tensor& q_SHK, const at::Tensor& k_SGK,
                            const at::Tensor& v_SGK) {
      at::Tensor &keys = keys_[static_cast<std::size_t>(layer)], &values = values_[static_cast<std::size_t>(layer)];
      const at::Tensor index = lengths_S.view({-1, 1, 1, 1}).expand({k_SGK.size(0), k_SGK.size(1), 1, k_SGK.size(2)});
      keys.scatter_(2, index, k_SGK.unsqueeze(2).to(torch::kFloat32));
      values.scatter_(2, index, v_SGK.unsqueeze(2).to(torch::kFloat32));
      return at::scaled_dot_product_attention(q_SHK.unsqueeze(2).to(torch::kFloat32), keys.narrow(2, 0, longest),
                                              values.narrow(2, 0, longest), mask, 0.0, false, {}, true)
          .squeeze(2)
          .to(q_SHK.scalar_type());
    };
    const at::Tensor hidden_SD =
        model_.transform(torch::tensor(tokens, torch::kInt64).to(model_.device()), lengths_S, attend);
    for (std::int64_t& length : lengths_) ++length;
    return model_.logits(hidden_SD).to(torch::kCPU).contiguous();
  }

 private:
  at::Tensor on_device(const std::vector<std::int64_t>& numbers) const {
    return torch::tensor(numbers, torch::kInt64).to(model_.device());
  }

  /// @shape rows [T, G, K]
  void copy_prompt(at::Tensor& cache, std::size_t prompt, const at::Tensor& rows) const {
    cache.narrow(0, static_cast<std::int64_t>(prompt) * num_samples_, num_samples_)
        .narrow(2, 0, rows.size(0))
        .copy_(rows.transpose(0, 1).unsqueeze(0).expand({num_samples_, -1, -1, -1}));
  }

  void drop_others(const std::vector<std::int64_t>& sequences) {
    std::vector<std::int64_t> kept, lengths;
    for (std::size_t s = 0, next = 0; next < sequences.size(); ++s)
      if (sequences_[s] == sequences[next]) {
        kept.push_back(static_cast<std::int64_t>(s));
        lengths.push_back(lengths_[s]);
        ++next;
      }
    for (auto* side : {&keys_, &values_})
      for (at::Tensor& tensor : *side) tensor = tensor.index_select(0, on_device(kept));
    sequences_ = sequences;
    lengths_ = lengths;
  }

  const Llama model_;
  std::int64_t num_samples_;
  std::vector<at::Tensor> keys_, values_;
  std::vector<std::int64_t> sequences_, lengths_;  ///< of the rows of the cache
};

}  // namespace

DecoderFactory device_decoders(const Llama& model) {
  return [model](const DecoderSize& size) { return std::make_unique<DeviceDecoder>(model, size); };
}

}  // namespace rluf
