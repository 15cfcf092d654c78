// simulation_stage DIRECTORY ROWS: runs the stage alone for the Python oracle.
#include <string>

#include "rluf/core/log.hpp"
#include "rluf/pipeline/simulation/simulate.hpp"

int main(int argc, char** argv) {
  rluf::Environment environment(argc, argv);
  if (argc != 3) return 2;
  rluf::RunOptions run;
  run.directory = argv[1];
  const rluf::ModelOptions model;
  const rluf::ProcessGrid grid = rluf::ProcessGrid::make();
  const rluf::RunDirectory directory(run.directory, grid.world);
  rluf::SimulationOptions options;
  options.rows = std::stoll(argv[2]);
  rluf::run_simulate(options, {run, model, directory, grid, at::Device(at::kCPU)});
}
