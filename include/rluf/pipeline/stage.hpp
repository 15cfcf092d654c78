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
  std::int64_t seed = 1;
  std::string device = "auto";
  std::int64_t threads = 0;              ///< a rank; 0: cores of the node / ranks on it
  double watchdog_seconds = 1800;
  std::int64_t keep_checkpoints = 2;
  void describe(OptionTable& table);
};

struct StageContext {
  const RunOptions& run;
  const ModelOptions& model;
  const RunDirectory& directory;
  const ProcessGrid& grid;
  at::Device device;
  std::uint64_t seed() const { return static_cast<std::uint64_t>(run.seed); }
};

/// name, what it needs and makes (files below the run directory), how to run it, what its result depends on.
struct Stage {
  std::string name, text;
  std::vector<std::string> needs, makes;
  std::function<void(const StageContext&)> run;
  nlohmann::json identity;
};

}  // namespace rluf
