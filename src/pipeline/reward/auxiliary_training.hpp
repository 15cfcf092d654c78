#pragma once
/// Auxiliary heads while they learn.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/model/training.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"

namespace rluf {

/// The columns of `data` that the targets name. @throws Error(kBadInput) naming one that no row has
std::vector<std::vector<double>> columns_of(const std::vector<AuxiliaryTarget>& targets, const LabelledData& data);

/// In training the rows of score.weight are love's heads, then one for each auxiliary head, then one for each of their
/// thresholds. Those of thresholds see ones in place of a state, so that what they say is the same of every document.
class AuxiliaryTraining {
 public:
  /// `trained`: rows of `examples` that are trained on. @throws Error as columns_of and head_of_spread
  AuxiliaryTraining(const ObjectiveOptions& objective, const LabelledData& examples,
                    const std::vector<std::int64_t>& trained);
  /// Of each document, and in a last row of the thresholds; without auxiliary heads of documents alone.
  /// @shape [num_documents + 1, rows of score.weight]
  at::Tensor scores(const Llama& model, const std::vector<TokenIds>& documents) const;
  /// Adds to the loss of a micro-batch what the auxiliary heads lose on those of its rows that have a label. Rows count
  /// as often as makes a head's loss of the whole data the mean over its labels. @shape scores as above
  void add_losses(const at::Tensor& scores, const std::vector<std::int64_t>& rows, MicroLoss& loss) const;
  /// Gives the trained model its auxiliary heads, with thresholds in place of their rows. @collective
  void finish(RewardModel& reward) const;
  /// Of each head: what it is, and how many trained rows have a label.
  nlohmann::json table() const;

 private:
  std::int64_t num_love_, num_trained_;
  double weight_;
  std::vector<AuxiliaryHead> heads_;  ///< as they start
  std::vector<std::vector<double>> labels_;
  std::vector<std::int64_t> num_labels_;
};

}  // namespace rluf
