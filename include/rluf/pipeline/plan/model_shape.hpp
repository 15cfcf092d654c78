#pragma once
/// Shapes of models: of a folder, or public ones by name; and the symbols that a plan's formulas use for them.
#include <string>
#include <vector>

#include "rluf/model/llama.hpp"
#include "rluf/pipeline/plan/quantity.hpp"

namespace rluf {

std::vector<std::string> shape_names();
/// @throws Error(kBadInput) for an unknown name, with the nearest
LlamaConfig shape_named(const std::string& name, const std::string& option);

/// V words, D hidden, L layers, H heads, G key/value heads, K head_dim, F feed-forward; from them the parameters.
struct ShapeSymbols {
  Quantity V, D, L, H, G, K, F;
  Quantity attention_matrices, feed_forward_matrices;
  Quantity layer_matrices;  ///< p, both
  Quantity layer;           ///< with its two norms
  Quantity embedding, head;
  Quantity parameters;  ///< P
  std::vector<Figure> figures() const;
};
/// @source the sizes of parameter_shapes(config), which a test compares
ShapeSymbols shape_symbols(const LlamaConfig& config);

}  // namespace rluf
