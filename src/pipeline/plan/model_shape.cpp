#include "rluf/pipeline/plan/model_shape.hpp"

#include "rluf/config/option_table.hpp"
#include "rluf/core/error.hpp"

namespace rluf {
namespace {

struct NamedShape {
  const char* name;
  std::int64_t vocab, hidden, feed_forward, layers, heads, kv_heads;
  bool tied;
};

// From the config.json of each public model: meta-llama/Meta-Llama-3-8B and -70B, Llama-3.2-1B, and
// HuggingFaceTB/SmolLM2-135M.
constexpr NamedShape kShapes[] = {
    {"llama-3-8b", 128256, 4096, 14336, 32, 32, 8, false},
    {"llama-3-70b", 128256, 8192, 28672, 80, 64, 8, false},
    {"llama-3.2-1b", 128256, 2048, 8192, 16, 32, 8, true},
    {"smollm2-135m", 49152, 576, 1536, 30, 9, 3, true},
};

}  // namespace

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

LlamaConfig shape_named(const std::string& name, const std::string& option) {
  for (const NamedShape& shape : kShapes) {
    if (name != shape.name) continue;
    LlamaConfig config;
    config.vocab_size = shape.vocab;
    config.hidden_size = shape.hidden;
    config.intermediate_size = shape.feed_forward;
    config.num_layers = shape.layers;
    config.num_heads = shape.heads;
    config.num_kv_heads = shape.kv_heads;
    config.head_dim = shape.hidden / shape.heads;
    config.max_position_embeddings = 8192;
    config.tie_word_embeddings = shape.tied;
    return config;
  }
  const std::string nearest = nearest_name(name, shape_names());
  fail_input(concat(option, " = ", name, " is no shape that rluf knows"), "the plan would be of another model",
             nearest.empty() ? "name a model folder in its base option" : concat("did you mean ", nearest, "?"));
}

ShapeSymbols shape_symbols(const LlamaConfig& config) {
  const auto count = [](const char* symbol, std::int64_t value) {
    return Quantity(symbol, static_cast<double>(value));
  };
  ShapeSymbols s{.V = count("V", config.vocab_size),
                 .D = count("D", config.hidden_size),
                 .L = count("L", config.num_layers),
                 .H = count("H", config.num_heads),
                 .G = count("G", config.num_kv_heads),
                 .K = count("K", config.head_dim),
                 .F = count("F", config.intermediate_size)};
  s.attention_matrices = (2 * s.D * s.K * (s.H + s.G)).as("p_attention");
  s.feed_forward_matrices = (3 * s.D * s.F).as("p_feed_forward");
  s.layer_matrices = (s.attention_matrices + s.feed_forward_matrices).as("p");
  s.layer = (s.layer_matrices + 2 * s.D).as("P_layer");
  s.embedding = (s.V * s.D).as("P_embedding");
  if (config.num_scores > 0) {
    s.head = (static_cast<double>(config.num_scores) * s.D).as("P_head");
  } else {
    s.head = config.tie_word_embeddings ? Quantity("P_head", 0) : (s.V * s.D).as("P_head");
  }
  s.parameters = (s.embedding + s.L * s.layer + s.D + s.head).as("P");
  return s;
}

std::vector<Figure> ShapeSymbols::figures() const {
  return {{"words", V},
          {"hidden width", D},
          {"layers", L},
          {"query heads", H},
          {"key/value heads", G},
          {"width of a head", K},
          {"feed-forward width", F},
          {"matrices of a layer's attention", attention_matrices},
          {"matrices of a layer's feed-forward part", feed_forward_matrices},
          {"matrices of a layer", layer_matrices},
          {"a layer with its two norms", layer},
          {"embedding", embedding},
          {"head (0: the embedding again)", head},
          {"parameters", parameters}};
}

}  // namespace rluf
