// The Llama transformer. Shape letters: T tokens of the packed batch, D hidden, H heads, G key/value heads, K head_dim,
// F feed-forward, V vocabulary, R chosen rows, B documents.
#include "rluf/model/llama.hpp"

#include <torch/torch.h>

#include "decoder.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/packed_ops.hpp"
#include "rope.hpp"

namespace rluf {
namespace {

std::uint64_t name_hash(const std::string& name) {
  std::uint64_t hash = 1469598103934665603ull;  // FNV-1a
  for (unsigned char c : name) hash = (hash ^ c) * 1099511628211ull;
  return hash;
}

}  // namespace

std::vector<std::pair<std::string, std::vector<std::int64_t>>> parameter_shapes(const LlamaConfig& config) {
  const auto D = config.hidden_size, F = config.intermediate_size, V = config.vocab_size, K = config.head_dim;
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  shapes.push_back({"model.embed_tokens.weight", {V, D}});
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = concat("model.layers.", layer, ".");
    shapes.push_back({prefix + "input_layernorm.weight", {D}});
    shapes.push_back({prefix + "self_attn.q_proj.weight", {config.num_heads * K, D}});
    shapes.push_back({prefix + "self_attn.k_proj.weight", {config.num_kv_heads * K, D}});
    shapes.push_back({prefix + "self_attn.v_proj.weight", {config.num_kv_heads * K, D}});
    shapes.push_back({prefix + "self_attn.o_proj.weight", {D, config.num_heads * K}});
    shapes.push_back({prefix + "post_attention_layernorm.weight", {D}});
    shapes.push_back({prefix + "mlp.gate_proj.weight", {F, D}});
    shapes.push_back({prefix + "mlp.up_proj.weight", {F, D}});
    shapes.push_back({prefix + "mlp.down_proj.weight", {D, F}});
  }
  shapes.push_back({"model.norm.weight", {D}});
  if (config.num_scores > 0) {
    shapes.push_back({"score.weight", {config.num_scores, D}});
  } else if (!config.tie_word_embeddings) {
    shapes.push_back({"lm_head.weight", {V, D}});
  }
  return shapes;
}

at::Tensor initial_weight(const std::vector<std::int64_t>& shape, const std::string& name, std::uint64_t seed) {
  at::Tensor weight = torch::empty(shape, torch::kFloat32);
  RandomStream random(seed, Purpose::kInitialWeights, 0, name_hash(name));
  float* values = weight.data_ptr<float>();
  for (std::int64_t i = 0; i < weight.numel(); ++i) values[i] = static_cast<float>(0.02 * random.normal());
  return weight;
}

PackedBatch PackedBatch::from(const std::vector<std::vector<std::int32_t>>& documents, at::Device device) {
  PackedBatch batch;
  batch.offsets.push_back(0);
  for (const auto& document : documents)
    batch.offsets.push_back(batch.offsets.back() + static_cast<std::int64_t>(document.size()));
  at::Tensor tokens = torch::empty({batch.offsets.back()}, torch::kInt64);
  std::int64_t* out = tokens.data_ptr<std::int64_t>();
  for (const auto& document : documents) out = std::copy(document.begin(), document.end(), out);
  batch.tokens = tokens.to(device);
  return batch;
}

Llama::Llama(LlamaConfig config, at::Device device) : config_(std::move(config)), device_(device) {
  std::tie(rope_cos_, rope_sin_) = rope_tables(config_, config_.max_position_embeddings, device_);
}

Llama::Llama(LlamaConfig config, std::uint64_t seed, at::Device device) : Llama(std::move(config), device) {
  for (const auto& [name, shape] : parameter_shapes(config_)) {
    at::Tensor weight = shape.size() == 1 ? torch::ones(shape) : initial_weight(shape, name, seed);
    parameters_.emplace_back(name, weight.to(device_).set_requires_grad(true));
  }
}

const at::Tensor& Llama::parameter(const std::string& name) const {
  // A model of L layers has 9 L + 3 parameters in a fixed order, so this search is a short walk.
  for (const auto& [known, tensor] : parameters_)
    if (known == name) return tensor;
  throw std::logic_error("the model has no parameter " + name);
}

void Llama::set_trainable_layers(std::int64_t layers) {
  const std::int64_t first_layer = config_.num_layers - layers;
  for (auto& [name, tensor] : parameters_) {
    bool trainable = layers < 0;
    if (layers >= 0) {
      if (name.starts_with("model.layers.")) {
        trainable = std::stoll(name.substr(13)) >= first_layer;
      } else {
        trainable = name != "model.embed_tokens.weight";  // final norm, lm_head, score
      }
    }
    tensor.set_requires_grad(trainable);
  }
}

at::Tensor Llama::hidden(const PackedBatch& batch) const {
  const std::int64_t T = batch.offsets.back();
  for (std::size_t d = 1; d < batch.offsets.size(); ++d) check_length(batch.offsets[d] - batch.offsets[d - 1]);
  at::Tensor positions_T = torch::empty({T}, torch::kInt64);
  document_positions(batch.offsets, {positions_T.data_ptr<std::int64_t>(), static_cast<std::size_t>(T)});
  return transform(batch.tokens, positions_T.to(device_),
                   [&](std::int64_t, const at::Tensor& q_THK, const at::Tensor& k_TGK, const at::Tensor& v_TGK) {
                     return packed_attention(q_THK, k_TGK, v_TGK, batch.offsets);
                   });
}

void Llama::check_length(std::int64_t num_tokens) const {
  if (num_tokens > config_.max_position_embeddings)
    fail_data(concat("a document has ", num_tokens, " tokens"),
              concat("the model knows ", config_.max_position_embeddings, " positions"),
              "lower data.max_tokens or the number of new tokens");
}

at::Tensor Llama::transform(const at::Tensor& tokens_T, const at::Tensor& positions_T, const Attend& attend) const {
  const std::int64_t T = tokens_T.size(0), H = config_.num_heads, G = config_.num_kv_heads, K = config_.head_dim;
  const at::Tensor cos_T1K = rope_cos_.index_select(0, positions_T).unsqueeze(1).to(compute_type_);
  const at::Tensor sin_T1K = rope_sin_.index_select(0, positions_T).unsqueeze(1).to(compute_type_);

  std::size_t next = 0;
  const auto take = [&]() -> const at::Tensor& { return parameters_[next++].second; };
  const auto linear = [&](const at::Tensor& x, const at::Tensor& weight) {
    return at::linear(x, weight.to(compute_type_));
  };
  const auto norm = [&](const at::Tensor& x, const at::Tensor& weight) {
    return at::rms_norm(x, {config_.hidden_size}, weight, config_.rms_norm_eps).to(compute_type_);
  };

  at::Tensor x_TD = at::embedding(take(), tokens_T).to(torch::kFloat32);  // the residual stream stays float32
  for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
    at::Tensor normed_TD = norm(x_TD, take());
    at::Tensor q_THK = apply_rope(linear(normed_TD, take()).view({T, H, K}), cos_T1K, sin_T1K);
    at::Tensor k_TGK = apply_rope(linear(normed_TD, take()).view({T, G, K}), cos_T1K, sin_T1K);
    at::Tensor v_TGK = linear(normed_TD, take()).view({T, G, K});
    at::Tensor attended_TD = attend(layer, q_THK, k_TGK, v_TGK).reshape({T, H * K});
    x_TD = x_TD + linear(attended_TD, take());
    normed_TD = norm(x_TD, take());
    const at::Tensor gate_TF = linear(normed_TD, take());
    const at::Tensor up_TF = linear(normed_TD, take());
    x_TD = x_TD + linear(at::silu(gate_TF) * up_TF, take());
  }
  return norm(x_TD, take());
}

const at::Tensor& head_weight(const Llama& model) {
  if (model.config().num_scores > 0)
    fail_input("a scoring model was asked for token probabilities", "it has no language-model head",
               "name a chat model's folder");
  return model.parameter(model.config().tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
}

at::Tensor Llama::log_probs(const at::Tensor& hidden_rows, const at::Tensor& targets) const {
  return chosen_token_log_probs(hidden_rows, head_weight(*this).to(compute_type_), targets);
}

at::Tensor Llama::logits(const at::Tensor& hidden_rows) const {
  return at::linear(hidden_rows, head_weight(*this).to(compute_type_)).to(torch::kFloat32);
}

at::Tensor Llama::scores(const at::Tensor& hidden, const PackedBatch& batch) const {
  if (config_.num_scores == 0)
    fail_input("a chat model was asked for a score", "it has no score head", "name a reward model's folder");
  std::vector<std::int64_t> last(batch.offsets.begin() + 1, batch.offsets.end());
  for (auto& index : last) --index;
  const at::Tensor rows_BD = hidden.index_select(0, torch::tensor(last, torch::kInt64).to(device_));
  return at::linear(rows_BD.to(torch::kFloat32), parameter("score.weight"));
}

Llama Llama::clone() const {
  Llama copy(config_, device_);
  copy.compute_type_ = compute_type_;
  for (const auto& [name, tensor] : parameters_) copy.parameters_.emplace_back(name, tensor.detach().clone());
  return copy;
}

Llama Llama::for_inference() const {
  Llama view = *this;  // of the same tensors
  for (auto& [name, tensor] : view.parameters_)
    tensor = tensor.dim() > 1 && name != "score.weight" ? tensor.detach().to(compute_type_) : tensor.detach();
  return view;
}

}  // namespace rluf
