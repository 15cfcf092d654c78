// dataset_stage DIRECTORY BASE [KEY=FILE or KEY=NUMBER ...]: runs the stage alone, for the Python oracle and the bench.
#include <cstdio>
#include <string>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"

int main(int argc, char** argv) {
  rluf::Environment environment(argc, argv);
  if (argc < 3) return 2;
  rluf::RunOptions run;
  run.directory = argv[1];
  rluf::ModelOptions model;
  model.base = argv[2];
  rluf::DataOptions options;
  rluf::OptionTable table;
  options.describe(table);
  try {
    table.read({}, std::vector<std::string>(argv + 3, argv + argc));
    const rluf::ProcessGrid grid = rluf::ProcessGrid::make();
    const rluf::RunDirectory directory(run.directory, grid.world);
    rluf::run_dataset(options, {run, model, directory, grid, at::Device(at::kCPU)});
  } catch (const rluf::Error& error) {
    rluf::log_error(error.what());
    return static_cast<int>(error.code());
  }
}
