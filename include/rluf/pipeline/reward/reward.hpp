#pragma once
/// The reward stage: P[Love] by binary cross-entropy, helpfulness and safety by Bradley-Terry.
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Options of one objective: sections [love], [helpfulness], [safety].
struct ObjectiveOptions {
  std::string base = "";             ///< model to start from; empty: models/reference, else model.base
  double margin = 0.0;               ///< pairs: factor of the pair's margin in the loss
  double centering = 0.01;           ///< pairs: weight of (chosen + rejected)^2
  std::string calibrate = "prior";   ///< love: prior, temperature, platt or isotonic
  double positive_weight = 1;        ///< love: factor of a positive's loss; 0: both classes weigh the same
  std::string length_bias = "keep";  ///< or residual: the length's share is taken off
  std::int64_t heads = 1;            ///< heads on the trunk, each with a resample of its own
  std::string heads_score = "mean";  ///< or lower
  double heads_deviations = 1;       ///< of lower: standard deviations below the mean
  std::vector<std::string> also;     ///< love: what other heads on the trunk learn, as parse_targets reads it
  double also_weight = 0.3;          ///< of each of their losses; that of love is 1
  TrainOptions train;
  void describe(OptionTable& table, const std::string& name, bool pairs);
  /// @throws Error(kBadInput) if `also` cannot be read or names `label`
  void check_also(const std::string& label) const;
  /// Rows of the matrix of score heads in training: the heads, the auxiliary ones, and offsets of their thresholds.
  std::int64_t num_score_rows() const;
  /// Whether the last tenth of the training rows is kept to fit something on.
  bool has_window() const { return calibrate != "prior" || length_bias != "keep"; }
};

struct RewardOptions {
  std::string objective = "all";
  std::int64_t bootstrap_replicates = 500;
  ObjectiveOptions love, helpfulness, safety;
  void describe(OptionTable& table);
};

/// Makes models/X and tables/reward_X.json for the wanted objectives whose data exist; continues from checkpoints.
/// @collective @throws Error(kBadInput) if a wanted objective has no data
void run_reward(const RewardOptions& options, const DataOptions& data, const StageContext& context);
/// Of one rank, for the largest of the objectives that have data. @unit bytes
std::int64_t reward_memory_bytes(const RewardOptions& options, const StageContext& context);

}  // namespace rluf
