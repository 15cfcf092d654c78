#pragma once
/// The Llama transformer: grouped-query attention, rotary positions with Llama 3 scaling, RMSNorm, SwiGLU, tied or
/// untied embeddings, an LM head and optional scalar heads.
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rluf/io/checkpoint.hpp"
#include "rluf/io/safetensors.hpp"
#include "rluf/model/layout.hpp"
#include "rluf/model/packed_ops.hpp"

namespace rluf {

class GradientSink;
struct DroppedWeights;
struct GatherRequest;
class WeightGather;

/// Llama 3's stretching of the rotary frequencies. @source Llama 3.1 model card, config.json "rope_scaling"
struct RopeScaling {
  double factor = 8, low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;
};

/// Low-rank adapters beside the matrices of the last layers: W x + (alpha / rank) B A x with only A and B trained.
/// @source Hu et al., arXiv 2106.09685
struct LoraConfig {
  std::int64_t rank = 0;  ///< rows of A and columns of B; 0: no adapters
  double alpha = 0;
  std::int64_t first_layer = 0;  ///< the first that has them

  double scale() const { return alpha / static_cast<double>(rank); }
  bool covers(std::int64_t layer) const { return rank > 0 && layer >= first_layer; }
};

/// config.json of a Hugging Face folder.
struct LlamaConfig {
  std::int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_layers = 0;
  std::int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0, max_position_embeddings = 2048;
  double rope_theta = 10000.0, rms_norm_eps = 1e-5;
  std::optional<RopeScaling> rope_scaling;
  bool tie_word_embeddings = true;
  std::int64_t num_scores = 0;  ///< scalar heads; 0: a language model
  LoraConfig lora;              ///< never part of config.json: folders hold merged weights
  std::vector<std::int32_t> eos_token_ids;
  std::int32_t bos_token_id = -1;
  std::string torch_dtype = "float32";

  static LlamaConfig from_json(const nlohmann::json& config, const std::string& path);
  static LlamaConfig from_folder(const std::string& folder);
  nlohmann::json to_json() const;
};

/// (Hugging Face name, shape) of every parameter, in the order in which the forward pass uses them; after them those of
/// the adapters, A and B of each matrix.
std::vector<std::pair<std::string, std::vector<std::int64_t>>> parameter_shapes(const LlamaConfig& config);

/// Whether gradients flow to a parameter when the last `layers` layers and the heads are trained: -1 all, 0 heads only.
/// With adapters these stand for their layers, and of the heads only scores are trained.
bool is_trained(const std::string& name, const LlamaConfig& config, std::int64_t layers);

/// Compares the headers of a folder's weights with what config.json asks for, reading no data; a missing score head is
/// no error. @throws Error(kBadInput) naming the first missing, superfluous or misshapen tensor
void check_weights(const LlamaConfig& config, const SafetensorsFolder& files, const std::string& folder);

/// Normal with standard deviation 0.02, float32 on the CPU: a pure function of (seed, name).
at::Tensor initial_weight(const std::vector<std::int64_t>& shape, const std::string& name, std::uint64_t seed);

/// Documents laid end to end without padding. @shape tokens [T] int64; offsets num_documents + 1 entries, 0 to T
struct PackedBatch {
  at::Tensor tokens;
  std::vector<std::int64_t> offsets;
  std::int64_t num_documents() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  static PackedBatch from(const std::vector<std::vector<std::int32_t>>& documents, at::Device device);
};

/// A model, or this rank's part of one. With a layout that divides it, what runs it is collective over the ranks that
/// share it: they call the same members with the same examples (tensor axis) or as often (shard axis).
class Llama {
 public:
  /// Random weights (normal, std 0.02) that are a pure function of (seed, parameter name), in float32.
  Llama(LlamaConfig config, std::uint64_t seed, at::Device device, LayoutPointer layout = nullptr);
  /// Reads config.json and safetensors, of these only what this rank holds; one rank of those that hold the same reads
  /// it. Missing score heads are made from `seed`; `num_scores` overrides the file's. @collective over all ranks of the
  /// layout @throws Error(kBadInput) naming the first missing, superfluous or misshapen tensor
  static Llama load(const std::string& folder, at::Device device, std::int64_t num_scores = 0, std::uint64_t seed = 0,
                    const LayoutPointer& layout = nullptr);
  /// Writes config.json, model.safetensors, generation_config.json and a copy of the tokenizer; rank 0 of the layout
  /// does, others help; without a layout whoever calls. `dtype`: float32, float16, bfloat16. Names are Hugging Face's,
  /// so transformers opens the folder. Adapters are merged into it, and stand in FOLDER/adapter as PEFT's LoRA reads
  /// them. @collective over all ranks of the layout @memory one parameter more
  void save(const std::string& folder, const std::string& tokenizer_path, const std::string& dtype = "float32") const;

  const LlamaConfig& config() const { return config_; }
  /// The same with the heads and the feed-forward width of this rank of the tensor axis.
  LlamaConfig part_config() const;
  at::Device device() const { return device_; }
  const LayoutPointer& layout() const { return layout_; }
  /// (Hugging Face name, float32 tensor) in the order of parameter_shapes; requires_grad where trainable. Of each this
  /// rank has the rows placements()[i].kept of its part.
  const NamedTensors& parameters() const { return parameters_; }
  const std::vector<Placement>& placements() const { return placements_; }
  const at::Tensor& parameter(const std::string& name) const;
  /// Puts adapters beside matrices: A is random, B is 0, so nothing changes until they are trained. The weights
  /// themselves are trained no more, but for score heads.
  void add_adapters(const LoraConfig& lora, std::uint64_t seed);
  /// Parameter i in one piece, with its adapter. @collective over the shard and tensor axes
  at::Tensor whole_parameter(std::size_t i) const;
  /// Rotary angles of every position. @shape [max_position_embeddings, head_dim] float32
  const at::Tensor& rope_cos() const { return rope_cos_; }
  const at::Tensor& rope_sin() const { return rope_sin_; }
  /// Lets gradients flow where is_trained says so.
  void set_trainable_layers(std::int64_t layers);
  /// Where gradients go that the layout divides; those of other parameters go to their grad. Null: nowhere.
  void set_gradient_sink(GradientSink* sink) { gradient_sink_ = sink; }
  /// Matrix products in this type (kFloat or kBFloat16); weights and reductions stay float32.
  void set_compute_type(at::ScalarType type) { compute_type_ = type; }
  at::ScalarType compute_type() const { return compute_type_; }

  /// How a layer's queries meet keys and values: (layer, q [T, H, K], k [T, G, K], v [T, G, K]) -> [T, H, K], with the
  /// heads of this rank. Called again in backward where layers are recomputed.
  using Attend = std::function<at::Tensor(std::int64_t, const at::Tensor&, const at::Tensor&, const at::Tensor&)>;
  /// The transformer with the given attention: packed documents in training, a cache in generation.
  /// @shape tokens, positions [T] int64 -> [T, hidden_size] final normalised states of the compute type
  at::Tensor transform(const at::Tensor& tokens, const at::Tensor& positions, const Attend& attend) const;
  /// @throws Error(kBadData) if the model has fewer positions
  void check_length(std::int64_t num_tokens) const;
  /// @shape tokens [T] int64 -> [T, hidden_size] float32
  at::Tensor embed(const at::Tensor& tokens) const;
  /// Final normalised hidden states. @shape [T, hidden_size] of the compute type
  at::Tensor hidden(const PackedBatch& batch) const;
  /// log p(target | before) of chosen positions in float32; never holds more than a slice of the logits.
  /// @shape hidden_rows [R, hidden_size], targets [R] int64 -> [R]
  at::Tensor log_probs(const at::Tensor& hidden_rows, const at::Tensor& targets) const;
  /// The tensor axis's logits, each of its part of the vocabulary, side by side. @shape [R, part] -> [R, vocab_size]
  at::Tensor joined_logits(const at::Tensor& part) const;
  /// Logits in float32, of the whole vocabulary on every rank. @shape [R, hidden_size] -> [R, vocab_size]
  at::Tensor logits(const at::Tensor& hidden_rows) const;
  /// Scalar heads at the last token of each document. @shape [num_documents, num_scores] float32
  at::Tensor scores(const at::Tensor& hidden, const PackedBatch& batch) const;

  /// A copy whose weights do not change when this one is trained (reference policy).
  Llama clone() const;
  /// The same weights without gradients, adapters merged, matrices in the compute type, gathered over the shard axis:
  /// no cast and no gather in every forward pass. Shares memory where it can, so it is good until the next optimizer
  /// step. @collective
  Llama for_inference() const;
  /// Score heads in one piece. @shape [num_scores, hidden_size] @collective over the shard and tensor axes
  at::Tensor score_heads() const;
  /// The same model with these score heads in place of its own; shares memory with this one.
  /// @shape heads [any number, hidden_size], the same on every rank
  Llama with_score_heads(const at::Tensor& heads) const;

 private:
  friend const at::Tensor& head_weight(const Llama& model);
  enum class Use { kLookup, kProduct };  ///< matrices as they are stored, or in the compute type
  struct Rotation {
    at::Tensor cos, sin;  ///< [T, 1, head_dim]
  };
  Llama(LlamaConfig config, at::Device device, LayoutPointer layout);
  void add_parameter(const std::string& name, const at::Tensor& kept);
  void save_adapters(const std::string& folder) const;
  /// Parameters `indices`, each as its header says, into STEM.safetensors.
  void write_parameters(const std::string& folder, const std::string& stem, const std::vector<TensorHeader>& headers,
                        const std::vector<std::size_t>& indices) const;
  bool is_trainable(std::int64_t layer) const;
  std::size_t final_norm_index() const;
  std::size_t language_head_index() const;
  at::ScalarType type_in_use(const at::Tensor& parameter, Use use) const {
    return parameter.dim() > 1 && use == Use::kProduct ? compute_type_ : parameter.scalar_type();
  }
  /// Parameters on all their rows, gathered where they are divided.
  std::vector<at::Tensor> weights(const std::vector<std::size_t>& indices, Use use = Use::kProduct) const;
  /// A matrix of a layer and its adapter, undefined where there is none.
  struct Matrix {
    at::Tensor weight, a, b;
    std::shared_ptr<DroppedWeights> dropped;  ///< where backward finds `weight`, number `place`; null: it is kept
    std::size_t place = 0;
  };
  struct LayerPart {
    at::Tensor norm;
    std::vector<Matrix> matrices;
  };
  /// Part 2 l is the attention of layer l, part 2 l + 1 its feed-forward: a norm, matrices, then their adapters.
  std::vector<std::size_t> indices_of_part(std::int64_t part) const;
  LayerPart layer_part(std::int64_t part) const;
  /// Divided weights of a part. Those that the pass needs next are on their way when it returns.
  std::vector<at::Tensor> gathered_part(std::int64_t part, bool backward) const;
  /// The part that the forward or backward pass comes to next; none at its end.
  std::optional<std::int64_t> part_after(std::int64_t part, bool backward) const;
  /// Starts to gather a part and those of the next layout.gather_ahead layers.
  void start_gathers(std::optional<std::int64_t> part, bool backward) const;
  void begin_pass() const;  ///< forward: the first parts begin to arrive
  GatherRequest request_for(const std::vector<std::size_t>& indices, Use use = Use::kProduct) const;
  /// x W^T, and what the adapter adds to it.
  at::Tensor product(const at::Tensor& x, const Matrix& matrix) const;
  /// Where A of a parameter's adapter stands, B after it.
  std::optional<std::size_t> adapter_index(std::size_t parameter) const;
  /// Parameter i on all its rows of the tensor axis's part, its adapter merged.
  at::Tensor merged_weight(std::size_t i, Use use) const;
  at::Tensor to_tensor_axis(const at::Tensor& x) const;
  at::Tensor from_tensor_axis(const at::Tensor& x) const;
  std::optional<VocabularyPart> vocabulary_part(std::size_t head) const;
  at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) const;
  at::Tensor attention_block(std::int64_t layer, const at::Tensor& x, const Rotation& rotation,
                             const Attend& attend) const;
  at::Tensor feed_forward_block(std::int64_t layer, const at::Tensor& x) const;

  LlamaConfig config_;
  at::Device device_;
  LayoutPointer layout_;
  at::ScalarType compute_type_ = at::kFloat;
  NamedTensors parameters_;
  std::vector<Placement> placements_;
  std::shared_ptr<std::map<std::int64_t, WeightGather>> ahead_;  ///< parts on their way
  GradientSink* gradient_sink_ = nullptr;
  at::Tensor anchor_;               ///< requires a gradient and never gets one
  at::Tensor rope_cos_, rope_sin_;  ///< [max_position_embeddings, head_dim]
};

}  // namespace rluf
