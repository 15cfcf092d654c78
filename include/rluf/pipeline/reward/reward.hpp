#pragma once
/// The reward stage: P[Love] by binary cross-entropy, helpfulness and safety by Bradley-Terry.
#include <string>

#include "rluf/config/option_table.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Options of one objective: sections [love], [helpfulness], [safety].
struct ObjectiveOptions {
  std::string base = "";            ///< model to start from; empty: models/reference, else model.base
  double margin = 0.0;              ///< pairs: factor of the pair's margin in the loss
  double centering = 0.01;          ///< pairs: weight of (chosen + rejected)^2
  std::string calibrate = "prior";  ///< love: prior or temperature
  TrainOptions train;
  void describe(OptionTable& table, const std::string& name, bool pairs);
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
