#pragma once
/// What tests of whole stages share: a folder that all ranks see, a tiny simulated world in it, and stages' contexts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>

#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/simulation/simulate.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

class StageTest : public testing::Test {
 protected:
  StageTest()
      : folder_(world_.broadcast(
            (std::filesystem::temp_directory_path() / ("rluf_stage_" + std::to_string(getpid()))).string(), 0)) {}
  void TearDown() override {
    world_.barrier();
    if (world_.rank() == 0) std::filesystem::remove_all(folder_);
  }

  /// Ten of everything and a model of one layer; a test raises what it needs.
  static SimulationOptions tiny_world() {
    SimulationOptions options;
    options.rows = options.users = options.helpfulness_pairs = options.safety_pairs = 10;
    options.prompts = options.sft_rows = options.candidate_prompts = 10;
    options.hidden_size = options.intermediate_size = 16;
    options.num_layers = 1;
    options.num_heads = options.num_kv_heads = 2;
    return options;
  }
  /// Makes folder_/world. @collective
  void simulate(const SimulationOptions& options) const {
    with_context([&](const StageContext& context) { run_simulate(options, context); });
    world_.barrier();
  }
  void with_context(const std::function<void(const StageContext&)>& action) const {
    with_context(folder_, world_, action);
  }
  void with_context(const std::string& folder, const Communicator& comm,
                    const std::function<void(const StageContext&)>& action) const {
    const ProcessGrid grid{comm, comm, Communicator::self(), Communicator::self(), comm};
    const RunDirectory directory(folder, comm);
    action({run_, model_, directory, grid, at::Device(at::kCPU)});
  }
  /// What the stages wrote, once all ranks are done. @collective
  nlohmann::json table(const std::string& name) const {
    world_.barrier();
    return RunDirectory(folder_, world_).read_table(name);
  }

  Communicator world_ = Communicator::world();
  std::string folder_;
  RunOptions run_;
  ModelOptions model_;
};

}  // namespace rluf
