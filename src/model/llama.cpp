// The Llama transformer. Shape letters: T tokens of the packed batch, D hidden, H heads, G key/value heads, K head_dim,
// F feed-forward, V vocabulary, R chosen rows, B documents.
#include "rluf/model/llama.hpp"

#include <torch/torch.h>

#include "distributed_ops.hpp"
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

std::int64_t layer_of(const std::string& name) { return std::stoll(name.substr(std::string("model.layers.").size())); }

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
  if (config.lora.rank == 0) return shapes;
  const std::size_t num_weights = shapes.size();
  for (std::size_t i = 0; i < num_weights; ++i) {
    const auto [name, shape] = shapes[i];
    if (!name.starts_with("model.layers.") || shape.size() < 2 || !config.lora.covers(layer_of(name))) continue;
    const std::string matrix = name.substr(0, name.size() - std::string("weight").size());
    shapes.push_back({matrix + "lora_A.weight", {config.lora.rank, shape[1]}});
    shapes.push_back({matrix + "lora_B.weight", {shape[0], config.lora.rank}});
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

at::Tensor Llama::hidden(const PackedBatch& batch) const {
  const std::int64_t T = batch.offsets.back();
  for (std::size_t d = 1; d < batch.offsets.size(); ++d) check_length(batch.offsets[d] - batch.offsets[d - 1]);
  at::Tensor positions_T = torch::empty({T}, torch::kInt64);
  if (!device_.is_meta())
    document_positions(batch.offsets, {positions_T.data_ptr<std::int64_t>(), static_cast<std::size_t>(T)});
  return transform(
      batch.tokens, positions_T.to(device_),
      [offsets = batch.offsets](std::int64_t, const at::Tensor& q_THK, const at::Tensor& k_TGK,
                                const at::Tensor& v_TGK) { return packed_attention(q_THK, k_TGK, v_TGK, offsets); });
}

void Llama::check_length(std::int64_t num_tokens) const {
  if (num_tokens > config_.max_position_embeddings)
    fail_data(concat("a document has ", num_tokens, " tokens"),
              concat("the model knows ", config_.max_position_embeddings, " positions"),
              "lower data.max_tokens or the number of new tokens");
}

at::Tensor Llama::norm(const at::Tensor& x, const at::Tensor& weight) const {
  return at::rms_norm(x, {config_.hidden_size}, weight, config_.rms_norm_eps).to(compute_type_);
}

at::Tensor Llama::embed(const at::Tensor& tokens_T) const {
  const at::Tensor table_VD = weights({0}, Use::kLookup)[0];
  const auto part = vocabulary_part(0);
  if (!part) return at::embedding(table_VD, tokens_T).to(torch::kFloat32);
  const at::Tensor rows_T = tokens_T - part->first_token;
  const at::Tensor here_T1 = rows_T.ge(0).bitwise_and(rows_T.lt(table_VD.size(0))).unsqueeze(1);
  const at::Tensor found_TD = at::embedding(table_VD, rows_T.clamp(0, table_VD.size(0) - 1));
  return sum_over_axis(found_TD * here_T1, part->axis);
}

at::Tensor Llama::attention_block(std::int64_t layer, const at::Tensor& x_TD, const Rotation& rotation,
                                  const Attend& attend) const {
  const std::int64_t T = x_TD.size(0), K = config_.head_dim;
  const LayerPart part = layer_part(2 * layer);
  const at::Tensor normed_TD = to_tensor_axis(norm(x_TD, part.norm));
  const auto heads = [&](std::size_t i) { return product(normed_TD, part.matrices[i]).view({T, -1, K}); };
  const at::Tensor q_THK = apply_rope(heads(0), rotation.cos, rotation.sin);
  const at::Tensor k_TGK = apply_rope(heads(1), rotation.cos, rotation.sin);
  const at::Tensor v_TGK = heads(2);
  return x_TD + from_tensor_axis(product(attend(layer, q_THK, k_TGK, v_TGK).reshape({T, -1}), part.matrices[3]));
}

at::Tensor Llama::feed_forward_block(std::int64_t layer, const at::Tensor& x_TD) const {
  const LayerPart part = layer_part(2 * layer + 1);
  const at::Tensor normed_TD = to_tensor_axis(norm(x_TD, part.norm));
  const at::Tensor gate_TF = product(normed_TD, part.matrices[0]), up_TF = product(normed_TD, part.matrices[1]);
  return x_TD + from_tensor_axis(product(at::silu(gate_TF) * up_TF, part.matrices[2]));
}

at::Tensor Llama::transform(const at::Tensor& tokens_T, const at::Tensor& positions_T, const Attend& attend) const {
  const Rotation rotation{rope_cos_.index_select(0, positions_T).unsqueeze(1).to(compute_type_),
                          rope_sin_.index_select(0, positions_T).unsqueeze(1).to(compute_type_)};
  const Recompute recompute = layout_ ? layout_->recompute : Recompute::kNone;
  begin_pass();
  at::Tensor x_TD = embed(tokens_T);  // the residual stream stays float32
  for (std::int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const auto feed_forward = [this, layer](const at::Tensor& x) { return feed_forward_block(layer, x); };
    const auto whole = [this, layer, rotation, attend](const at::Tensor& x) {
      return feed_forward_block(layer, attention_block(layer, x, rotation, attend));
    };
    const bool trains = at::GradMode::is_enabled() && (x_TD.requires_grad() || is_trainable(layer));
    if (recompute == Recompute::kLayers && trains) {
      x_TD = recomputed(whole, x_TD, anchor_);
    } else if (recompute == Recompute::kSelective && trains) {
      x_TD = recomputed(feed_forward, attention_block(layer, x_TD, rotation, attend), anchor_);
    } else {
      x_TD = whole(x_TD);
    }
  }
  return norm(x_TD, weights({final_norm_index()})[0]);
}

at::Tensor Llama::log_probs(const at::Tensor& hidden_rows, const at::Tensor& targets) const {
  const std::size_t head = language_head_index();
  return chosen_token_log_probs(hidden_rows, weights({head})[0], targets, vocabulary_part(head));
}

at::Tensor Llama::logits(const at::Tensor& hidden_rows) const {
  const std::size_t head = language_head_index();
  return joined_logits(at::linear(hidden_rows, weights({head})[0]).to(torch::kFloat32));
}

at::Tensor Llama::joined_logits(const at::Tensor& part_RV) const {
  const auto part = vocabulary_part(language_head_index());
  if (!part) return part_RV;
  at::Tensor all_VR = at::empty({config_.vocab_size, part_RV.size(0)}, part_RV.options());
  all_VR.narrow(0, part->first_token, part_RV.size(1)).copy_(part_RV.t());
  part->axis.all_gather_rows(all_VR, shard_ranges(config_.vocab_size, part->axis.size()));
  return all_VR.t().contiguous();
}

at::Tensor Llama::scores(const at::Tensor& hidden, const PackedBatch& batch) const {
  if (config_.num_scores == 0)
    fail_input("a chat model was asked for a score", "it has no score head", "name a reward model's folder");
  std::vector<std::int64_t> last(batch.offsets.begin() + 1, batch.offsets.end());
  for (auto& index : last) --index;
  const at::Tensor rows_BD = hidden.index_select(0, torch::tensor(last, torch::kInt64).to(device_));
  return at::linear(rows_BD.to(torch::kFloat32), weights({final_norm_index() + 1}, Use::kLookup)[0]);
}

}  // namespace rluf
