#pragma once
// A run directory at work: which stages are done, the others in order, with lock, status and log.
#include <functional>
#include <string>
#include <vector>

#include "rluf/pipeline/pipeline/run_config.hpp"

namespace rluf {

/// Of rluf and its libraries, a line each.
std::string versions();

/// A stage of a command, and whether an earlier start has finished it.
struct PlannedStage {
  Stage stage;
  nlohmann::json identity;
  bool may_skip = false, is_done = false;
};

/// Of the stages of make_stages(config), those `wanted`; the report is never skipped. Looks at all marks first: options
/// that changed since a stage was finished are an error before anything is written. @collective
/// @throws Error(kBadInput)
std::vector<PlannedStage> plan_stages(const std::vector<Stage>& wanted, bool may_skip, const RunConfig& config,
                                      const OptionTable& table, const RunDirectory& directory,
                                      const Communicator& comm);

/// Does what is not done yet. @collective
void run_stages(const std::vector<PlannedStage>& plan, const RunConfig& config, const StageContext& context);

/// What works on a run directory: the command, its options, and where it runs.
struct Job {
  const std::string& command;
  const RunConfig& config;
  const OptionTable& table;
  const ProcessGrid& grid;
  const Environment& environment;
  /// A directory inside of that of another job, which has the log, the request file and the clock.
  bool is_part = false;
};

/// Takes the directory's lock, keeps its status, writes used.ini and tables/run.json, and does `work`. @collective
/// @throws Error(kBadInput) if another job works on the directory
void work_on(const RunDirectory& directory, const Job& job, const std::function<void(const StageContext&)>& work);

}  // namespace rluf
