// The whole stage on a small simulated world, on any number of ranks.
#include "rluf/pipeline/sft/sft.hpp"

#include <ATen/ATen.h>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "stage_test.hpp"

namespace rluf {
namespace {

class SftTest : public StageTest {
 protected:
  void SetUp() override {
    SimulationOptions simulation = tiny_world();
    simulation.sft_rows = 400;
    simulation.hidden_size = simulation.intermediate_size = 32;
    simulate(simulation);
    model_.base = folder_ + "/world/base";
    data_.sft = folder_ + "/world/sft.jsonl.gz";
    data_.holdout_share = 0.2;
    data_.max_tokens = 256;
    options_.train.learning_rate = 1e-2;
    options_.train.global_batch = 32;
    options_.train.epochs = 3;
  }
  Json sft() {
    with_context([&](const StageContext& context) {
      run_dataset(data_, context);
      run_sft(options_, data_, context);
    });
    return table("sft");
  }

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
