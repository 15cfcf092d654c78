#pragma once
/// What every stage gets, and what a stage is.
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/io/run_directory.hpp"
#include "rluf/model/model_options.hpp"
#include "rluf/parallel/environment.hpp"
#include "rluf/parallel/process_grid.hpp"

namespace rluf {

struct RunOptions {
  std::string directory = "runs/default";
  bool simulate = false;  ///< begin with a simulated world; empty data.* options point to it
  std::int64_t seed = 1;
  bool reproducible = true;  ///< sums over ranks do not depend on their number or order
  std::string device = "auto";
  Retention checkpoints;  ///< how checkpoints are written, and which of a stage stay
  std::string checkpoint_writes = "background";
  std::vector<std::string> metrics = {"jsonl", "tensorboard"};  ///< forms besides metrics.csv
  std::int64_t threads = 0;                                     ///< a rank; 0: cores of the node / ranks on it
  double watchdog_seconds = 1800;
  double walltime_minutes = 0;  ///< 0: what the batch system says, if it does
  double walltime_margin_seconds = 60;
  std::string restart = "auto";
  void describe(OptionTable& table);
};

struct StageContext {
  const RunOptions& run;
  const ModelOptions& model;
  const RunDirectory& directory;
  const ProcessGrid& grid;
  at::Device device;
  const ParallelOptions parallel = {};
  /// How models lie on the grid.
  LayoutPointer layout() const { return make_layout(parallel, grid); }
  std::uint64_t seed() const { return static_cast<std::uint64_t>(run.seed); }
};

/// One step of the run. `makes` is a file below the run directory that shows a stranger where the result is.
struct Stage {
  std::string name, text, makes;
  std::vector<std::string> sections;  ///< options that its result depends on
  std::vector<std::string> parts;     ///< beginnings of the names of its checkpoint folders
  std::vector<std::string> hands_on;  ///< what later stages read of its results, below the run directory
  std::function<void(const StageContext&)> run;
  /// Memory that a rank will hold at the peak besides what the program holds when the stage starts; right within a
  /// factor of two of the measured peak (tests/pipeline/run_directory.py). @unit bytes
  std::function<std::int64_t(const StageContext&)> estimate_bytes = {};
};

}  // namespace rluf
