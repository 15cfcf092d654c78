#pragma once
/// All options of a run, one struct a section.
#include "rluf/model/model_options.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/evaluation/evaluate.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/sft/sft.hpp"
#include "rluf/pipeline/simulation/simulate.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct ParallelOptions {
  std::int64_t shard = 1, tensor = 1;
  void describe(OptionTable& table);
};

struct RunConfig {
  RunOptions run;
  ParallelOptions parallel;
  ModelOptions model;
  SimulationOptions simulate;
  DataOptions data;
  SftOptions sft;
  RewardOptions reward;
  EvaluationOptions evaluate;
  PolicyOptions policy;

  /// The options as a table that points into this struct: it must not move afterwards.
  OptionTable table();
  /// Checks what one option alone cannot tell, and fills what follows from others (a simulated world's files).
  /// @throws Error(kBadInput)
  void complete();
};

/// The stages of `rluf run`, in the order of the data's way; they refer to `config`.
std::vector<Stage> make_stages(const RunConfig& config);

}  // namespace rluf
