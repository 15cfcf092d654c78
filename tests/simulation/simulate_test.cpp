#include "rluf/pipeline/simulation/simulate.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

/// All lines of all files that the stage makes, as one text.
std::string content(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() != ".safetensors") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  std::string text, line;
  for (const std::string& path : paths) {
    text += std::filesystem::path(path).filename().string() + "\n";
    LineReader reader(path);
    while (reader.next(line)) text += line + "\n";
  }
  return text;
}

void simulate(const std::string& directory_name, const Communicator& comm, const SimulationOptions& options) {
  RunOptions run;
  const ModelOptions model;
  const ProcessGrid grid{comm, comm, Communicator::self(), Communicator::self(), comm};
  const RunDirectory directory(directory_name, comm);
  run_simulate(options, {run, model, directory, grid, at::Device(at::kCPU)});
}

SimulationOptions small_world() {
  SimulationOptions options;
  options.rows = 20000;
  options.users = 400;
  options.helpfulness_pairs = options.safety_pairs = options.prompts = options.sft_rows = 50;
  options.candidate_prompts = 20;
  options.hidden_size = 16;
  options.num_layers = 1;
  return options;
}

TEST(Simulate, SameFilesOnAnyNumberOfRanksAndTheLoveRateAskedFor) {
  const Communicator world = Communicator::world();
  const std::string base = world.broadcast(
      (std::filesystem::temp_directory_path() / ("rluf_simulate_" + std::to_string(getpid()))).string(), 0);
  simulate(base + "/together", world, small_world());
  double love = 0, rows = 0;
  guarded(world, [&] {
    if (world.rank() != 0) return;
    simulate(base + "/alone", Communicator::self(), small_world());
    const std::string together = content(base + "/together/world");
    EXPECT_GT(together.size(), 1000000u);
    EXPECT_TRUE(together == content(base + "/alone/world"));
    for_each_row(base + "/alone/world/interactions.jsonl.gz", 0, 1, [&](std::int64_t, const Json& row) {
      love += row["signals"]["love"].get<double>();
      ++rows;
    });
    EXPECT_NEAR(love / rows, 0.005, 4 * std::sqrt(0.005 / rows) + 0.0005);
    EXPECT_GT(rows, 20000);  // with duplicates
    const Json online = read_json(base + "/alone/world/online.json");
    EXPECT_EQ(online.size(), 12u);
    for (const auto& [name, entry] : online.items()) {
      EXPECT_GT(entry["love_rate"].get<double>(), 0.0005) << name;
      EXPECT_LT(entry["love_rate"].get<double>(), 0.05) << name;
    }
  });
  world.barrier();
  if (world.rank() == 0) std::filesystem::remove_all(base);
}

}  // namespace
}  // namespace rluf
