#pragma once
/// The checkpoints of one training loop: where it goes on, when it writes, how it stops.
#include "rluf/io/checkpoint_writer.hpp"
#include "rluf/io/run_directory.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {

struct LoopPlan {
  std::string stage, unit;  ///< name of checkpoints, metrics and messages; "step" or "round"
  std::int64_t num_steps = 0, checkpoint_every = 0;
  nlohmann::json identity;
  DescribeState describe;
};

class LoopCheckpoints {
 public:
  /// Restores the newest checkpoint of the stage through plan.describe, if there is one, and takes back what metrics
  /// and log say of later steps. @collective @throws Error(kBadData) if it is of another run
  LoopCheckpoints(const RunDirectory& directory, LoopPlan plan, const Communicator& comm);
  std::int64_t first_step() const { return first_step_; }  ///< steps done by earlier starts
  /// Within a step, before the described tensors change. Local.
  void state_will_change() { writer_.state_will_change(); }
  /// After each step: writes what is due or asked for. @collective @throws Error(kStopped) when asked to stop, after
  /// the checkpoint is complete, and what CheckpointWriter::poll throws
  void after_step(std::int64_t step);
  /// After the last step. @collective
  void finish(std::int64_t step);
  /// Runs `body`, one step that does not change the described state before it returns. If it is stopped in the middle,
  /// a checkpoint of the state before the step is written first. @collective
  void interruptible(std::int64_t step, const std::function<void()>& body);

 private:
  void begin(std::int64_t step);
  void note_complete();
  void complete();
  const RunDirectory& directory_;
  LoopPlan plan_;
  Communicator comm_;
  CheckpointWriter writer_;
  std::int64_t first_step_ = 0, saved_step_ = 0, noted_step_ = -1;
};

}  // namespace rluf
