// The parameters of a Llama: what this rank holds of them, and how they become whole.
#include <torch/torch.h>

#include <cmath>

#include "decoder.hpp"
#include "distributed_ops.hpp"
#include "gathered_weights.hpp"
#include "rluf/core/error.hpp"
#include "rluf/model/llama.hpp"
#include "rope.hpp"

namespace rluf {
namespace {

constexpr std::size_t kLayerParameters = 9;  // in the order of parameter_shapes

std::size_t first_of_layer(std::int64_t layer) { return 1 + static_cast<std::size_t>(layer) * kLayerParameters; }

}  // namespace

Llama::Llama(LlamaConfig config, at::Device device, LayoutPointer layout)
    : config_(std::move(config)),
      device_(device),
      layout_(std::move(layout)),
      ahead_(std::make_shared<std::map<std::int64_t, WeightGather>>()),
      anchor_(torch::zeros({}, torch::requires_grad())) {
  if (layout_) check_layout(config_, *layout_);
  for (const auto& [name, shape] : parameter_shapes(config_))
    placements_.push_back(placement_of(name, shape, layout_.get()));
  std::tie(rope_cos_, rope_sin_) = rope_tables(config_, config_.max_position_embeddings, device_);
}

Llama::Llama(LlamaConfig config, std::uint64_t seed, at::Device device, LayoutPointer layout)
    : Llama(std::move(config), device, std::move(layout)) {
  for (const auto& [name, shape] : parameter_shapes(config_)) {
    const at::Tensor whole = device_.is_meta()   ? torch::empty(shape, torch::kMeta)  // shapes without numbers
                             : shape.size() == 1 ? torch::ones(shape)
                                                 : initial_weight(shape, name, seed);
    add_parameter(name, placements_[parameters_.size()].kept_part(whole));
  }
}

void Llama::add_parameter(const std::string& name, const at::Tensor& kept) {
  at::Tensor own = kept.to(device_, torch::kFloat32).contiguous();
  if (own.storage().nbytes() > own.nbytes()) own = own.clone();  // a view would keep all of the whole in memory
  parameters_.emplace_back(name, own.set_requires_grad(true));
}

const at::Tensor& Llama::parameter(const std::string& name) const {
  // A model of L layers has 9 L + 3 parameters in a fixed order, so this search is a short walk.
  for (const auto& [known, tensor] : parameters_)
    if (known == name) return tensor;
  throw std::logic_error("the model has no parameter " + name);
}

bool is_trained(const std::string& name, const LlamaConfig& config, std::int64_t layers) {
  if (config.lora.rank > 0 && name != "score.weight" && name.find(".lora_") == std::string::npos) return false;
  if (layers < 0) return true;
  if (name.starts_with("model.layers.")) return std::stoll(name.substr(13)) >= config.num_layers - layers;
  return name != "model.embed_tokens.weight";  // final norm, lm_head, score
}

void Llama::set_trainable_layers(std::int64_t layers) {
  for (auto& [name, tensor] : parameters_) tensor.set_requires_grad(is_trained(name, config_, layers));
}

LlamaConfig Llama::part_config() const {
  LlamaConfig part = config_;
  const std::size_t layer = first_of_layer(0);
  part.num_heads = placements_[layer + 1].local[0] / config_.head_dim;
  part.num_kv_heads = placements_[layer + 2].local[0] / config_.head_dim;
  part.intermediate_size = placements_[layer + 6].local[0];
  return part;
}

bool Llama::is_trainable(std::int64_t layer) const {
  const std::size_t first = first_of_layer(layer);
  const auto adapter = adapter_index(first + 1);
  return parameters_[adapter ? *adapter : first].second.requires_grad();
}

std::size_t Llama::final_norm_index() const { return first_of_layer(config_.num_layers); }

std::size_t Llama::language_head_index() const {
  if (config_.num_scores > 0)
    fail_input("a scoring model was asked for token probabilities", "it has no language-model head",
               "name a chat model's folder");
  return config_.tie_word_embeddings ? 0 : final_norm_index() + 1;
}

const at::Tensor& head_weight(const Llama& model) { return model.parameters()[model.language_head_index()].second; }

at::Tensor Llama::to_tensor_axis(const at::Tensor& x) const {
  return layout_ ? copy_to_axis(x, layout_->grid.tensor) : x;
}

at::Tensor Llama::from_tensor_axis(const at::Tensor& x) const {
  return layout_ ? sum_over_axis(x, layout_->grid.tensor) : x;
}

std::optional<VocabularyPart> Llama::vocabulary_part(std::size_t head) const {
  if (placements_[head].split_dim < 0) return std::nullopt;
  return VocabularyPart{layout_->grid.tensor, placements_[head].split.first};
}

std::vector<std::size_t> Llama::indices_of_part(std::int64_t part) const {
  const std::size_t norm = first_of_layer(part / 2) + (part % 2 == 0 ? 0 : 5), count = part % 2 == 0 ? 4 : 3;
  std::vector<std::size_t> indices;
  for (std::size_t i = norm; i <= norm + count; ++i) indices.push_back(i);
  for (std::size_t i = norm + 1; i <= norm + count; ++i)
    if (const auto adapter = adapter_index(i)) indices.insert(indices.end(), {*adapter, *adapter + 1});
  return indices;
}

Llama::LayerPart Llama::layer_part(std::int64_t part_number) const {
  const std::vector<std::size_t> indices = indices_of_part(part_number);
  const std::size_t norm = indices[0], count = part_number % 2 == 0 ? 4 : 3;
  std::vector<at::Tensor> all;
  std::shared_ptr<DroppedWeights> dropped;
  if (!layout_ || !layout_->divides_weights()) {
    all = weights(indices);
  } else {
    all = gathered_part(part_number, is_recomputing());
    if (at::GradMode::is_enabled()) {
      dropped = std::make_shared<DroppedWeights>();
      dropped->gather = [this, part_number] { return gathered_part(part_number, true); };
      if (is_recomputing())
        for (const at::Tensor& weight : all) dropped->weights.push_back(weight.detach());
      const GatherRequest request = request_for(indices);
      if (request.trains()) all = with_gradients(all, request, dropped, anchor_);
    }
  }
  LayerPart part{all[0], {}};
  for (std::size_t i = 1; i <= count; ++i) {
    Matrix& matrix = part.matrices.emplace_back(Matrix{all[i], {}, {}, dropped, i});
    if (all.size() == count + 1) continue;
    matrix.a = all[count + 2 * i - 1];
    matrix.b = all[count + 2 * i];
    // What is whole on every rank of the axis gets a part of its gradient on each.
    at::Tensor& whole = placements_[norm + i].split_dim == 1 ? matrix.b : matrix.a;
    whole = to_tensor_axis(whole);
  }
  return part;
}

std::optional<std::int64_t> Llama::part_after(std::int64_t part, bool backward) const {
  if (!backward) return part + 1 < 2 * config_.num_layers ? std::optional(part + 1) : std::nullopt;
  // A layer that is computed again goes forward first.
  const bool whole_layers = layout_->recompute == Recompute::kLayers;
  const std::int64_t next = !whole_layers ? part - 1 : part % 2 == 0 ? part + 1 : part - 3;
  return next >= 0 && is_trainable(next / 2) ? std::optional(next) : std::nullopt;
}

void Llama::start_gathers(std::optional<std::int64_t> part, bool backward) const {
  for (std::int64_t left = 2 * layout_->gather_ahead; part && left >= 0; --left, part = part_after(*part, backward))
    if (!ahead_->contains(*part)) ahead_->emplace(*part, WeightGather(request_for(indices_of_part(*part))));
}

std::vector<at::Tensor> Llama::gathered_part(std::int64_t part, bool backward) const {
  start_gathers(part, backward);
  WeightGather here = std::move(ahead_->extract(part).mapped());
  return here.wait();
}

void Llama::begin_pass() const {
  if (!layout_ || !layout_->divides_weights()) return;
  for (auto& [part, gather] : *ahead_) gather.wait();  // of a pass that an error ended
  ahead_->clear();
  if (layout_->gather_ahead > 0) start_gathers(0, false);
}

at::Tensor Llama::product(const at::Tensor& x, const Matrix& matrix) const {
  const at::Tensor y = matrix.dropped ? product_with_dropped(x, matrix.weight, matrix.dropped, matrix.place)
                                      : at::linear(x, matrix.weight);
  if (!matrix.a.defined()) return y;
  return y + at::linear(at::linear(x, matrix.a), matrix.b) * config_.lora.scale();
}

std::optional<std::size_t> Llama::adapter_index(std::size_t parameter) const {
  const std::size_t first = first_of_layer(config_.lora.first_layer), last = final_norm_index();
  if (config_.lora.rank == 0 || parameter < first || parameter >= last) return std::nullopt;
  const std::size_t layers = (parameter - first) / kLayerParameters, i = (parameter - first) % kLayerParameters;
  if (i == 0 || i == 5) return std::nullopt;  // norms
  const std::size_t matrix = layers * (kLayerParameters - 2) + i - (i < 5 ? 1 : 2);
  const bool has_head = config_.num_scores > 0 || !config_.tie_word_embeddings;
  return last + 1 + (has_head ? 1 : 0) + 2 * matrix;
}

void Llama::add_adapters(const LoraConfig& lora, std::uint64_t seed) {
  RLUF_ASSERT(config_.lora.rank == 0 && lora.rank > 0);
  config_.lora = lora;
  const auto shapes = parameter_shapes(config_);
  for (std::size_t i = parameters_.size(); i < shapes.size(); ++i) {
    const auto& [name, shape] = shapes[i];
    placements_.push_back(placement_of(name, shape, layout_.get()));
    // A has the variance that PEFT gives it, 1 / (3 columns).
    const bool is_a = name.find(".lora_A.") != std::string::npos;
    const at::Tensor whole =
        device_.is_meta() ? torch::empty(shape, torch::kMeta)
        : is_a            ? initial_weight(shape, name, seed) * (50.0 / std::sqrt(3.0 * static_cast<double>(shape[1])))
                          : torch::zeros(shape);
    add_parameter(name, placements_.back().kept_part(whole));
  }
  set_trainable_layers(-1);
}

at::Tensor Llama::merged_weight(std::size_t i, Use use) const {
  const auto adapter = adapter_index(i);
  if (!adapter) return weights({i}, use)[0];
  const std::vector<at::Tensor> all = weights({i, *adapter, *adapter + 1}, Use::kLookup);
  const at::Tensor merged = at::addmm(all[0], all[2], all[1], 1.0, config_.lora.scale());
  return use == Use::kProduct ? merged.to(compute_type_) : merged;
}

GatherRequest Llama::request_for(const std::vector<std::size_t>& indices, Use use) const {
  GatherRequest request{.indices = indices, .layout = layout_, .sink = gradient_sink_};
  // Backward comes to a tied head before it comes to the embedding.
  request.more_to_come = use == Use::kProduct && indices[0] == 0;
  for (const std::size_t i : indices) {
    const at::Tensor& kept = parameters_[i].second;
    request.kept.push_back(kept);
    request.placements.push_back(placements_[i]);
    request.types.push_back(type_in_use(kept, use));
    request.trainable.push_back(kept.requires_grad());
  }
  return request;
}

std::vector<at::Tensor> Llama::weights(const std::vector<std::size_t>& indices, Use use) const {
  if (!layout_ || !layout_->divides_gradients()) {
    std::vector<at::Tensor> whole;
    for (const std::size_t i : indices)
      whole.push_back(parameters_[i].second.to(type_in_use(parameters_[i].second, use)));
    return whole;
  }
  const GatherRequest request = request_for(indices, use);
  const std::vector<at::Tensor> whole = WeightGather(request).wait();
  return request.trains() && at::GradMode::is_enabled() ? with_gradients(whole, request, nullptr, anchor_) : whole;
}

at::Tensor Llama::whole_parameter(std::size_t i) const {
  const at::NoGradGuard no_grad;
  const at::Tensor part = merged_weight(i, Use::kLookup).detach();
  return layout_ ? joined(part, placements_[i], layout_->grid.tensor) : part;
}

at::Tensor Llama::score_heads() const {
  RLUF_ASSERT(config_.num_scores > 0);
  return whole_parameter(final_norm_index() + 1);
}

Llama Llama::with_score_heads(const at::Tensor& heads) const {
  RLUF_ASSERT(config_.num_scores > 0 && heads.dim() == 2 && heads.size(1) == config_.hidden_size);
  const std::size_t i = final_norm_index() + 1;
  Llama other = *this;  // of the same tensors
  other.gradient_sink_ = nullptr;
  other.config_.num_scores = heads.size(0);
  other.placements_[i] = placement_of(parameters_[i].first, heads.sizes().vec(), layout_.get());
  other.parameters_[i].second =
      other.placements_[i].kept_part(heads).to(device_, torch::kFloat32).detach().clone().set_requires_grad(true);
  return other;
}

Llama Llama::clone() const {
  Llama copy(config_, device_, layout_);
  copy.compute_type_ = compute_type_;
  copy.placements_ = placements_;
  for (const auto& [name, tensor] : parameters_) copy.parameters_.emplace_back(name, tensor.detach().clone());
  return copy;
}

Llama Llama::for_inference() const {
  const at::NoGradGuard no_grad;
  Llama view = *this;  // of the same tensors
  view.gradient_sink_ = nullptr;
  view.config_.lora = {};
  view.parameters_.resize(parameter_shapes(view.config_).size());
  view.placements_.resize(view.parameters_.size());
  for (std::size_t i = 0; i < view.parameters_.size(); ++i) {
    const bool is_score = parameters_[i].first == "score.weight";
    view.parameters_[i].second = merged_weight(i, is_score ? Use::kLookup : Use::kProduct).detach();
    view.placements_[i].kept = {0, placements_[i].local[0]};
  }
  if (layout_) {
    auto layout = std::make_shared<Layout>(*layout_);
    layout->zero = 1;
    view.layout_ = layout;
  }
  return view;
}

}  // namespace rluf
