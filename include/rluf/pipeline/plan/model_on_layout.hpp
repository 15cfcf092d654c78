#pragma once
/// A model's elements on the fullest rank of a layout, as symbols for the formulas of memory and traffic.
#include <vector>

#include "rluf/pipeline/plan/layout.hpp"
#include "rluf/pipeline/plan/model_shape.hpp"

namespace rluf {

struct ModelOnLayout {
  LlamaConfig config;
  ShapeSymbols shape;
  ElementCounts counts;
  bool trains_embedding = true, trains_head = true;
  bool keeps_normalised = false;  ///< LibTorch on CPUs also keeps the norms' states before their gains
  Quantity trained_layers;        ///< L_trained
  Quantity rank = 0;              ///< r_lora of the adapters; 0: none
  /// Elements of a layer's adapters here, of both parts and together: what stands on the undivided side of a matrix is
  /// whole on each rank of the tensor axis.
  Quantity attention_adapters = 0, feed_forward_adapters = 0, layer_adapters = 0;
  Quantity local, own, trained_local, trained_own, moments, matrices, embedding;  ///< the counts
  Quantity block;          ///< the larger of a layer's two parts, which are gathered one by one
  Quantity head;           ///< elements of the head here, of a tied one those of the embedding
  Quantity compute_bytes;  ///< c, of an element in the compute type
  Quantity sum_bytes;      ///< g, of an element of a gradient sum: 8 in fixed point, 4 in float32
  Quantity travel_bytes;   ///< w, of an element of a gradient that travels: g, or 2 in bfloat16
  Quantity tensor;         ///< T
  bool has_adapters() const { return config.lora.rank > 0; }
  std::vector<Figure> figures() const;       ///< all of them
  std::vector<Figure> held_figures() const;  ///< what a model without training needs
};
ModelOnLayout model_on(const LlamaConfig& config, const PlanLayout& layout, std::int64_t trainable_layers,
                       double compute_bytes, double sum_bytes);

}  // namespace rluf
