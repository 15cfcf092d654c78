// The model on the GPU against the same model on the CPU.
#include <ATen/core/grad_mode.h>

#include <filesystem>

#include "gpu.hpp"
#include "rluf/io/checkpoint.hpp"
#include "rluf/model/generation.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/model/training.hpp"

namespace rluf {
namespace {

const std::vector<std::int64_t> kLengths{5, 17, 1, 64, 33, 2};

class ModelOnGpu : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (IsSkipped()) return;
    there.emplace(small_llama(), 5, gpu);
  }
  Llama here{small_llama(), 5, at::kCPU};
  std::optional<Llama> there;
  const std::vector<TokenIds> documents = documents_of_lengths(kLengths, 512);
};

TEST_F(ModelOnGpu, LogitsAndScoresEqualTheCpu) {
  at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < here.parameters().size(); ++i)
    ASSERT_TRUE(at::equal(here.parameters()[i].second, there->parameters()[i].second.cpu()));
  const at::Tensor wanted = here.logits(here.hidden(PackedBatch::from(documents, at::kCPU)));
  EXPECT_LT(relative_difference(there->logits(there->hidden(PackedBatch::from(documents, gpu))), wanted), 2e-4);
  there->set_compute_type(at::kBFloat16);
  EXPECT_LT(relative_difference(there->logits(there->hidden(PackedBatch::from(documents, gpu))), wanted), 5e-2);

  LlamaConfig config = small_llama();
  config.num_scores = 2;
  const Llama scorer_here(config, 6, at::kCPU), scorer_there(config, 6, gpu);
  const Communicator self = Communicator::self();
  const auto expected = score_documents(scorer_here, documents, 40, self, "cpu"),
             found = score_documents(scorer_there, documents, 40, self, "gpu");
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-4);
}

TEST_F(ModelOnGpu, GradientsEqualTheCpu) {
  std::vector<Document> examples;
  for (const TokenIds& tokens : documents)
    if (tokens.size() > 1) examples.push_back({tokens, static_cast<std::int64_t>(tokens.size() / 2)});
  for (Llama* model : {&here, &*there}) {
    model->set_trainable_layers(-1);
    response_token_log_probs(*model, examples, response_rows(examples, model->device())).sum().backward();
  }
  for (std::size_t i = 0; i < here.parameters().size(); ++i) {
    const auto& [name, parameter] = here.parameters()[i];
    EXPECT_LT(relative_difference(there->parameters()[i].second.grad(), parameter.grad()), 1e-3) << name;
  }
}

TEST_F(ModelOnGpu, TrainingStepsEqualTheCpu) {
  const Communicator self = Communicator::self();
  std::vector<Document> examples;
  for (const TokenIds& tokens : documents)
    if (tokens.size() > 1) examples.push_back({tokens, 1});
  const LossFunction loss = [&](const Llama& model, const std::vector<std::int64_t>& batch) {
    std::vector<Document> chosen;
    for (const std::int64_t i : batch) chosen.push_back(examples[static_cast<std::size_t>(i)]);
    return MicroLoss{-response_token_log_probs(model, chosen, response_rows(chosen, model.device())).mean(), {}};
  };
  std::vector<std::vector<StepResult>> results;
  for (Llama* model : {&here, &*there}) {
    model->set_trainable_layers(2);
    AdamW optimizer(*model, TrainOptions{}, self);
    auto& steps = results.emplace_back();
    for (int step = 0; step < 5; ++step)
      steps.push_back(train_step(*model, optimizer, {{0, 1}, {2, 3, 4}}, 2.0, 1e-3, loss, self));
  }
  for (std::size_t step = 0; step < 5; ++step) {
    EXPECT_NEAR(results[1][step].loss, results[0][step].loss, 1e-4);
    EXPECT_NEAR(results[1][step].grad_norm, results[0][step].grad_norm, 1e-3 * results[0][step].grad_norm);
  }
  EXPECT_LT(results[1][4].loss, results[1][0].loss);
}

/// Steps on given gradients: what comes down, is updated and goes up again has the bits of a run on the CPU, also after
/// a restart.
TEST_F(ModelOnGpu, AnOptimizerOnTheHostGivesTheBitsOfTheCpu) {
  const Communicator self = Communicator::self();
  const LayoutPointer layout = make_layout({.optimizer_memory = "host"}, ProcessGrid::make());
  TrainOptions options;
  options.clip_norm = 0;  // the norm is added up otherwise
  Llama first(small_llama(), 5, gpu, layout), second(small_llama(), 99, gpu, layout);
  AdamW expected(here, options, self), before(first, options, self), after(second, options, self);
  const auto step = [&](AdamW& optimizer, at::Device device, int number) {
    std::vector<at::Tensor> gradients;
    for (const auto& [name, parameter] : here.parameters())
      gradients.push_back(
          (at::arange(parameter.numel(), at::kFloat) * number).sin().view(parameter.sizes()).to(device));
    optimizer.step(gradients, 1e-3);
  };
  const auto describe = [](AdamW& optimizer, const Llama& model) {
    return [&](StateArchive& archive) {
      optimizer.describe(archive);
      describe_weights(model, archive);
    };
  };
  const std::string folder = testing::TempDir() + "/rluf_gpu_optimizer";
  std::filesystem::remove_all(folder);
  for (int number = 1; number <= 4; ++number) {
    step(expected, at::kCPU, number);
    step(number <= 2 ? before : after, gpu, number);
    if (number != 2) continue;
    step(after, gpu, 7);  // its master weights are not those of the file
    write_checkpoint(folder, {"test", 2, {}}, describe(before, first), self);
    Checkpoint::newest(folder, self)->restore(describe(after, second));
  }
  for (std::size_t i = 0; i < here.parameters().size(); ++i)
    EXPECT_TRUE(at::equal(second.parameters()[i].second.cpu(), here.parameters()[i].second))
        << here.parameters()[i].first;
  std::filesystem::remove_all(folder);
}

TEST_F(ModelOnGpu, GeneratesTheTokensOfTheCpu) {
  const std::vector<std::int64_t> ids{0, 1, 2, 3, 4, 5};
  for (const double temperature : {0.0, 1.0}) {
    GenerationOptions options{.max_new_tokens = 32, .num_samples = temperature > 0 ? 4 : 1, .stop_ids = {1}, .seed = 7};
    options.sampling.temperature = temperature;
    options.batching.prompts_per_batch = 4;
    const auto wanted = generate(here, documents, ids, options), found = generate(*there, documents, ids, options);
    for (std::size_t p = 0; p < wanted.size(); ++p)
      for (std::size_t k = 0; k < wanted[p].size(); ++k) {
        EXPECT_EQ(found[p][k].tokens, wanted[p][k].tokens) << "prompt " << p << ", sample " << k;
        if (found[p][k].tokens != wanted[p][k].tokens) continue;
        for (std::size_t t = 0; t < wanted[p][k].log_probs.size(); ++t)
          EXPECT_NEAR(found[p][k].log_probs[t], wanted[p][k].log_probs[t], 1e-3);
      }
  }
}

TEST_F(ModelOnGpu, CheckpointsAndFoldersKeepEveryBit) {
  const Communicator self = Communicator::self();
  const std::string folder = testing::TempDir() + "/rluf_gpu_test";
  std::filesystem::remove_all(folder);
  write_checkpoint(
      folder, {"test", 3, {}}, [&](StateArchive& archive) { describe_weights(*there, archive); }, self);
  const auto read = Checkpoint::newest(folder, self);
  ASSERT_TRUE(read);
  Llama other(small_llama(), 99, gpu);
  read->restore([&](StateArchive& archive) { describe_weights(other, archive); });
  there->save(folder + "/model", "");
  const Llama loaded = Llama::load(folder + "/model", gpu);
  for (std::size_t i = 0; i < here.parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(other.parameters()[i].second, there->parameters()[i].second));
    EXPECT_TRUE(at::equal(loaded.parameters()[i].second, there->parameters()[i].second));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace rluf
