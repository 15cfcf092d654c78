#pragma once
/// Steps that were not applied, because the loss or the gradient was not finite or had exploded.
#include "rluf/io/loop_checkpoints.hpp"
#include "rluf/model/training.hpp"

namespace rluf {

class BadSteps {
 public:
  BadSteps(std::string stage, const TrainOptions& options, const RunDirectory& directory);
  /// Writes tables/bad_step_STAGE_STEP.json with the examples of the step. Beyond options.skip_bad_steps of them, a
  /// checkpoint of the state before the step is written and the stage ends. `step` counts from 0. @collective
  /// @throws Error(kBadData)
  void add(std::int64_t step, const std::string& complaint, const nlohmann::json& examples,
           LoopCheckpoints& checkpoints);
  void describe(StateArchive& archive) { archive.number("bad_steps", count_); }

 private:
  std::string stage_;
  std::int64_t limit_, count_ = 0;
  const RunDirectory& directory_;
};

}  // namespace rluf
