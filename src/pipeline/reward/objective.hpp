#pragma once
/// What the two kinds of objective share, and their parts.
#include <map>
#include <string>
#include <vector>

#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/losses.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"

namespace rluf {

/// The objective's model before training: scalar heads on the starting model. @collective
RewardModel starting_reward(const std::string& name, const ObjectiveOptions& objective, const std::string& base,
                            const StageContext& context);
/// Of each document. @shape [num_documents, num_heads]
at::Tensor heads_of(const Llama& model, const std::vector<TokenIds>& documents);
/// Not defined where there is one head. @shape [examples.size(), num_heads]
HeadWeights head_weights(const std::vector<std::int64_t>& examples, std::int64_t num_heads, std::uint64_t seed,
                         at::Device device);
/// Rows that are trained on, and those of the fitting window: the last tenth in the given order, if one is wanted.
struct TrainedRows {
  std::vector<std::int64_t> trained, fitted;
};
TrainedRows split_rows(std::vector<std::int64_t> order, bool with_window);

/// Raw scores of a window that was not trained on. With length_bias = residual the length's line is fitted on them
/// first, and taken off. @shape [documents.size()] @collective
std::vector<double> window_scores(RewardModel& reward, const std::vector<Document>& documents,
                                  const ObjectiveOptions& objective, const StageContext& context);

void train_love(const RewardOptions& options, const StageContext& context);
void train_pairs(const std::string& name, const ObjectiveOptions& objective, const RewardOptions& options,
                 const StageContext& context);

/// Held-out figures, as the table keeps them; `also`: what it says of auxiliary heads so far. @collective
nlohmann::json measure_love(const RewardModel& reward, const LabelledData& held_out, const RewardOptions& options,
                            const StageContext& context, nlohmann::json also);
/// Also sets the calibration's shift, so that an average response of the hold-out gets the probability 0.5.
nlohmann::json measure_pairs(RewardModel& reward, const PairData& held_out, const RewardOptions& options,
                             const ObjectiveOptions& objective, const StageContext& context);

/// Prints the table's metrics, and writes table and model. @collective
void finish(const std::string& name, const ObjectiveOptions& objective, const RewardModel& reward, nlohmann::json table,
            const std::map<std::string, double>& averages, const std::string& base, const StageContext& context);

}  // namespace rluf
