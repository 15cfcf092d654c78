#include "rluf/model/training.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/model/scoring.hpp"

namespace rluf {
namespace {

constexpr int kNumExamples = 40;

LlamaConfig small_config() {
  LlamaConfig config;
  config.vocab_size = 50;
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  return config;
}

/// Documents that count upwards from a random start, so that the next token can be learned.
std::vector<Document> counting_documents() {
  std::vector<Document> documents;
  for (std::uint64_t i = 0; i < kNumExamples; ++i) {
    RandomStream random(1, Purpose::kSimulation, 0, i);
    Document document;
    const auto start = static_cast<std::int32_t>(random.below(30)),
               length = static_cast<std::int32_t>(4 + random.below(12));
    for (std::int32_t t = 0; t < length; ++t) document.tokens.push_back(start + t);
    document.response_start = 1;
    documents.push_back(document);
  }
  return documents;
}

class Training : public testing::Test {
 protected:
  Communicator world = Communicator::world();
  std::vector<Document> documents = counting_documents();
  TrainOptions options;
  Training() {
    options.learning_rate = 1e-2;
    options.warmup_steps = 2;
    options.global_batch = 12;
    options.micro_batch_tokens = 24;
    options.epochs = 4;
    options.log_every_steps = 1;
    options.checkpoint_every_steps = 3;
  }
  std::string fresh_directory(const std::string& name) const {
    const std::string path = testing::TempDir() + "rluf_training_" + name;
    if (world.rank() == 0) std::filesystem::remove_all(path);
    world.barrier();
    return path;
  }
  TrainPlan plan() const {
    TrainPlan plan{.stage = "test", .num_tokens = {}, .seed = 7, .identity = {{"data", "counting"}}};
    for (const auto& document : documents) plan.num_tokens.push_back(static_cast<std::int64_t>(document.tokens.size()));
    return plan;
  }
  LossFunction loss() const {
    return [this](const Llama& model, const std::vector<std::int64_t>& examples) {
      std::vector<Document> batch;
      for (auto i : examples) batch.push_back(documents[static_cast<std::size_t>(i)]);
      const auto rows = response_rows(batch, torch::kCPU);
      return MicroLoss{-response_token_log_probs(model, batch, rows).sum() / 10.0,
                       {{"examples", static_cast<double>(examples.size())}}};
    };
  }
};

double largest_difference(const Llama& a, const Llama& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    largest = std::max(largest, (a.parameters()[i].second - b.parameters()[i].second).abs().max().item<double>());
  return largest;
}

TEST_F(Training, LearnsAndDoesNotDependOnTheNumberOfRanks) {
  Llama together(small_config(), 1, torch::kCPU), alone(small_config(), 1, torch::kCPU);
  const RunDirectory shared(fresh_directory("shared"), world);
  const auto averages = train(together, plan(), options, loss(), world, shared);
  EXPECT_LT(averages.at("loss"), 2.8);               // uniform guessing: about 3.3
  EXPECT_NEAR(averages.at("examples"), 1.0, 1e-12);  // a sum over the step's examples, divided by their number

  const Communicator self = Communicator::self();
  const RunDirectory own(
      testing::TempDir() + "rluf_training_self_" + std::to_string(world.rank()) + "of" + std::to_string(world.size()),
      self);
  std::filesystem::remove_all(own.checkpoints("test"));
  const auto expected = train(alone, plan(), options, loss(), self, own);
  EXPECT_EQ(averages, expected);
  EXPECT_EQ(largest_difference(together, alone), 0.0);
}

TEST_F(Training, ContinuesFromACheckpointAsIfNeverStopped) {
  Llama whole(small_config(), 1, torch::kCPU), stopped(small_config(), 1, torch::kCPU);
  const RunDirectory whole_directory(fresh_directory("whole"), world),
      stopped_directory(fresh_directory("stopped"), world);
  train(whole, plan(), options, loss(), world, whole_directory);
  // Ends in the middle: the loss fails in step 7, after the checkpoint of step 6.
  const LossFunction failing = [&](const Llama& model, const std::vector<std::int64_t>& examples) {
    MicroLoss result = loss()(model, examples);
    if (std::filesystem::exists(stopped_directory.checkpoints("test") + "/step_00000006.h5"))
      result.loss_sum = result.loss_sum * std::nan("");
    return result;
  };
  EXPECT_THROW(train(stopped, plan(), options, failing, world, stopped_directory), Error);
  Llama resumed(small_config(), 99, torch::kCPU);
  train(resumed, plan(), options, loss(), world, stopped_directory);
  EXPECT_EQ(largest_difference(whole, resumed), 0.0);

  TrainPlan other = plan();
  other.identity = {{"data", "something else"}};
  EXPECT_THROW(train(resumed, other, options, loss(), world, stopped_directory), Error);
}

TEST_F(Training, ANonFiniteLossChangesNothing) {
  Llama model(small_config(), 1, torch::kCPU);
  const Llama before = model.clone();
  AdamW optimizer(model, options, world);
  const LossFunction broken = [](const Llama& current, const std::vector<std::int64_t>&) {
    return MicroLoss{current.parameter("model.norm.weight").sum() * std::nan(""), {}};
  };
  EXPECT_EQ(train_step(model, optimizer, {{0}}, 1.0, 0.1, broken, world).complaint, "the loss is not a number");
  EXPECT_EQ(largest_difference(model, before), 0.0);
}

TEST_F(Training, BadStepsArePassedOverUpToALimit) {
  // The loss of step 3 (counted from 0) is not a number, whatever the examples are.
  const auto failing = [&](int& calls) {
    return [&](const Llama& model, const std::vector<std::int64_t>& examples) {
      MicroLoss result = loss()(model, examples);
      if (calls++ == 3) result.loss_sum = result.loss_sum * std::nan("");
      return result;
    };
  };
  options.micro_batch_tokens = 1 << 20;  // one micro-batch a step, of rank 0
  options.skip_bad_steps = 1;
  Llama model(small_config(), 1, torch::kCPU);
  const RunDirectory directory(fresh_directory("skipped"), world);
  int calls = world.rank() == 0 ? 0 : 100;
  const auto averages = train(model, plan(), options, failing(calls), world, directory);
  EXPECT_TRUE(std::isfinite(averages.at("loss")));
  if (world.rank() == 0) {
    const auto table = directory.read_table("bad_step_test_4");
    EXPECT_EQ(table.at("complaint"), "the loss is not a number");
    EXPECT_FALSE(table.at("examples").empty());
  }
  options.skip_bad_steps = 0;
  Llama stopped(small_config(), 1, torch::kCPU);
  const RunDirectory other(fresh_directory("not_skipped"), world);
  calls = world.rank() == 0 ? 0 : 100;
  EXPECT_THROW(train(stopped, plan(), options, failing(calls), world, other), Error);
  EXPECT_EQ(Checkpoint::newest(other.checkpoints("test"), world)->header().step, 3) << "the last good state";
}

TEST_F(Training, AnErrorOnOneRankIsAnErrorOnAll) {
  Llama model(small_config(), 1, torch::kCPU);
  AdamW optimizer(model, options, world);
  const LossFunction failing = [](const Llama&, const std::vector<std::int64_t>& examples) -> MicroLoss {
    if (examples[0] == 0) fail_data("example 0 is broken", "test", "none");
    return {torch::zeros({1}).requires_grad_().sum(), {}};
  };
  EXPECT_THROW(train_step(model, optimizer, {{0}, {1}, {2}}, 3.0, 0.1, failing, world), Error);
}

TEST_F(Training, StepEqualsLibTorchsAdamW) {
  Llama model(small_config(), 1, torch::kCPU);
  options.weight_decay = 0.1;
  options.clip_norm = 0.5;
  AdamW optimizer(model, options, world);
  const Llama reference = model.clone();
  std::vector<at::Tensor> matrices, vectors, all;
  for (const auto& [name, tensor] : reference.parameters()) {
    at::Tensor(tensor).set_requires_grad(true);
    (tensor.dim() > 1 ? matrices : vectors).push_back(tensor);
    all.push_back(tensor);
  }
  const auto settings = [&](double decay) {
    return std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(1e-2)
                                                            .betas({options.beta1, options.beta2})
                                                            .eps(options.epsilon)
                                                            .weight_decay(decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(matrices, settings(0.1));
  groups.emplace_back(vectors, settings(0.0));
  torch::optim::AdamW expected(groups, torch::optim::AdamWOptions(1e-2));
  for (int step = 0; step < 3; ++step) {
    train_step(model, optimizer, {{0, 1}, {2}}, 3.0, 1e-2, loss(), world);
    expected.zero_grad();
    (loss()(reference, {0, 1, 2}).loss_sum / 3.0).backward();
    torch::nn::utils::clip_grad_norm_(all, 0.5);
    expected.step();
  }
  EXPECT_LT(largest_difference(model, reference), 2e-5);
}

TEST(LearningRate, WarmsUpAndFallsAsACosine) {
  TrainOptions options;
  options.learning_rate = 1.0;
  options.warmup_steps = 4;
  options.min_learning_rate_ratio = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 0, 104), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 3, 104), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 4, 104), 1.0);
  EXPECT_NEAR(learning_rate_at(options, 54, 104), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(options, 104, 104), 0.1, 1e-12);
}

}  // namespace
}  // namespace rluf
