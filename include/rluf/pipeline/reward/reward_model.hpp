#pragma once
/// A trained reward model: a Llama with one scalar head, its text rules, and how its raw score becomes a probability.
#include <memory>
#include <string>
#include <vector>

#include "rluf/model/llama.hpp"
#include "rluf/model/model_options.hpp"

namespace rluf {

/// Kept in the model folder as rluf_reward.json.
struct Calibration {
  std::string objective;        ///< love, helpfulness, safety
  std::string kind;             ///< "binary" (love) or "pairwise" (Bradley-Terry)
  double prior_correction = 0;  ///< added to the raw logit (binary only)
  double scale = 1, shift = 0;  ///< calibrated logit = scale * (raw + prior_correction) + shift
};

/// scale * (raw + prior_correction) + shift
double calibrated_logit(double raw_score, const Calibration& calibration);
/// Probability of the objective from a raw score: sigmoid(scale * (raw + prior_correction) + shift). @source
/// ALGORITHM 1.2
double calibrated_probability(double raw_score, const Calibration& calibration);

struct RewardModel {
  Llama model;
  std::unique_ptr<ModelText> text;
  Calibration calibration;
  /// As Llama::load and save: collective over all ranks of a layout; rank 0 writes.
  static RewardModel load(const std::string& folder, const ModelOptions& options, at::Device device,
                          const LayoutPointer& layout = nullptr);
  /// The folder is also one of LlamaForSequenceClassification with one label, whose logit is the raw score: padding is
  /// a token that ends no document. So transformers needs the text as the chat template makes it, up to the end mark.
  void save(const std::string& folder, const std::string& dtype) const;
};

}  // namespace rluf
