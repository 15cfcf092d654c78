// The whole stage on a small simulated world, on any number of ranks.
#include "rluf/pipeline/sft/sft.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "rluf/pipeline/simulation/simulate.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

class SftTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = world_.broadcast((fs::temp_directory_path() / ("rluf_sft_" + std::to_string(getpid()))).string(), 0);
    SimulationOptions simulation;
    simulation.rows = simulation.users = simulation.helpfulness_pairs = simulation.safety_pairs = 10;
    simulation.prompts = simulation.candidate_prompts = 10;
    simulation.sft_rows = 400;
    simulation.hidden_size = simulation.intermediate_size = 32;
    simulation.num_layers = 1;
    simulation.num_heads = simulation.num_kv_heads = 2;
    with_context([&](const StageContext& context) { run_simulate(simulation, context); });
    model_.base = folder_ + "/world/base";
    data_.sft = folder_ + "/world/sft.jsonl.gz";
    data_.holdout_share = 0.2;
    data_.max_tokens = 256;
    options_.train.learning_rate = 1e-2;
    options_.train.global_batch = 32;
    options_.train.epochs = 3;
  }
  void TearDown() override {
    world_.barrier();
    if (world_.rank() == 0) fs::remove_all(folder_);
  }
  void with_context(const std::function<void(const StageContext&)>& action) {
    const ProcessGrid grid{world_, world_, Communicator::self(), Communicator::self()};
    const RunDirectory directory(folder_, world_);
    const RunOptions run;
    action({run, model_, directory, grid, at::Device(at::kCPU)});
  }
  Json sft() {
    Json table;
    with_context([&](const StageContext& context) {
      run_dataset(data_, context);
      run_sft(options_, data_, context);
      world_.barrier();
      table = context.directory.read_table("sft");
    });
    return table;
  }

  Communicator world_ = Communicator::world();
  std::string folder_;
  ModelOptions model_;
  DataOptions data_;
  SftOptions options_;
};

TEST_F(SftTest, LearnsTheResponses) {
  const Json table = sft();
  EXPECT_TRUE(table["trained"].get<bool>());
  // Duplicate prompts fall out, so the sum is what the data set kept.
  EXPECT_GT(table["examples"].get<int>(), 200);
  EXPECT_GT(table["held_out_examples"].get<int>(), 20);
  const double before = table["held_out_perplexity_before"], after = table["held_out_perplexity_after"];
  EXPECT_GT(before, 100);  // an untrained model finds its few hundred words about equally likely
  EXPECT_LT(after, 0.25 * before);
  const Llama trained = Llama::load(folder_ + "/models/reference", at::kCPU), base = Llama::load(model_.base, at::kCPU);
  EXPECT_FALSE(at::equal(trained.parameter("model.norm.weight"), base.parameter("model.norm.weight")));
}

TEST_F(SftTest, WithoutDataTheReferenceIsTheBase) {
  data_.sft.clear();
  data_.prompts = folder_ + "/world/prompts.jsonl.gz";
  const Json table = sft();
  EXPECT_FALSE(table["trained"].get<bool>());
  const Llama reference = Llama::load(folder_ + "/models/reference", at::kCPU),
              base = Llama::load(model_.base, at::kCPU);
  for (const auto& [name, tensor] : base.parameters())
    EXPECT_TRUE(at::equal(tensor, reference.parameter(name))) << name;
}

TEST_F(SftTest, NeedsAModel) {
  model_.base.clear();
  with_context([&](const StageContext& context) {
    try {
      run_sft(options_, data_, context);
      ADD_FAILURE() << "no error without a model";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
    }
    EXPECT_THROW(starting_model("", context), Error);
    EXPECT_EQ(starting_model("some/model", context), "some/model");
  });
}

}  // namespace
}  // namespace rluf
