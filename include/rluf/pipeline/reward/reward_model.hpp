#pragma once
/// A trained reward model: a Llama with scalar heads, its text rules, and how its raw score becomes a probability.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rluf/model/llama.hpp"
#include "rluf/model/model_options.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/auxiliary.hpp"
#include "rluf/pipeline/reward/calibration.hpp"

namespace rluf {

/// @shape all [num_documents]
struct RewardScores {
  RewardScores() = default;
  RewardScores(std::vector<double> raw_scores) : raw(std::move(raw_scores)) {}  ///< of a model with one head
  std::vector<double> raw;                ///< heads combined, without the length's share if that was taken off
  std::vector<double> disagreement;       ///< standard deviation of the heads; empty where there is one
  std::vector<std::vector<double>> also;  ///< what each auxiliary head predicts. @shape [num_heads][num_documents]
};

struct RewardModel {
  Llama model;
  std::unique_ptr<ModelText> text;
  Calibration calibration;
  std::vector<AuxiliaryHead> also = {};  ///< of the model's score heads the last ones are theirs
  /// The same on every rank. @collective over `comm`
  RewardScores scores(const std::vector<Document>& documents, std::int64_t micro_batch_tokens, const Communicator& comm,
                      const std::string& stage) const;
  /// Of documents that are read when their turn comes.
  RewardScores scores(const DocumentStore& store, std::int64_t micro_batch_tokens, const Communicator& comm,
                      const std::string& stage) const;
  /// As Llama::load and save: collective over all ranks of a layout; rank 0 writes.
  static RewardModel load(const std::string& folder, const ModelOptions& options, at::Device device,
                          const LayoutPointer& layout = nullptr);
  /// The folder is also one of LlamaForSequenceClassification with a label a head, whose logits are the raw scores
  /// (length_bias and heads_score are rluf's alone): padding is a token that ends no document. So transformers needs
  /// the text as the chat template makes it, up to the end mark. Auxiliary heads stand apart, in rluf_also.json.
  void save(const std::string& folder, const std::string& dtype) const;

 private:
  RewardScores combined(const std::vector<double>& heads, const std::vector<double>& response_tokens) const;
};

/// Lengths of the responses. @shape [store.size()], [documents.size()] @unit tokens
std::vector<double> response_tokens(const DocumentStore& store);
std::vector<double> response_tokens(const std::vector<Document>& documents);

}  // namespace rluf
