#pragma once
// run.restart: from where a start goes on.
#include "rluf/io/run_directory.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Prepares the directory, before a stage looks at it, so that the stages go on from what `restart` names: newer
/// checkpoints are set aside (below checkpoints/aside-TIME/, nothing is deleted) and the marks of stages that are to
/// be done again are removed. `planned`: the stages of the command; `all`: those of `rluf run`, in order. @collective
/// @throws Error(kBadInput) if there is no such checkpoint
void prepare_restart(const std::string& restart, const std::vector<Stage>& planned, const std::vector<Stage>& all,
                     const RunDirectory& directory, const Communicator& comm);

}  // namespace rluf
