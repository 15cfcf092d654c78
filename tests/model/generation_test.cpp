#include "rluf/model/generation.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "rluf/core/error.hpp"
#include "rluf/model/scoring.hpp"

namespace rluf {
namespace {

Llama small_model(std::int64_t num_scores = 0) {
  LlamaConfig config;
  config.vocab_size = 300;
  config.hidden_size = 40;
  config.intermediate_size = 72;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 10;
  config.max_position_embeddings = 96;
  config.num_scores = num_scores;
  Llama model(config, 3, torch::kCPU);
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model.parameters())
    if (tensor.dim() > 1) at::Tensor(tensor).mul_(8);  // so that tokens differ in probability
  return model;
}

std::vector<TokenIds> some_prompts() {
  return {{1, 2, 3, 4, 5}, {6}, {7, 8, 9}, {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27}};
}

GenerationOptions some_options() {
  GenerationOptions options;
  options.max_new_tokens = 40;
  options.num_samples = 3;
  options.seed = 5;
  options.stop_ids = {0, 1, 2, 3, 4};  // some sequences end early
  return options;
}

TEST(Generation, LogProbabilitiesAreTheModels) {
  Llama model = small_model();
  for (const at::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
    model.set_compute_type(type);
    const auto prompts = some_prompts();
    const auto samples = generate(model, prompts, {0, 1, 2, 3}, some_options());
    const torch::NoGradGuard no_grad;
    std::int64_t num_finished = 0, num_tokens = 0;
    for (std::size_t p = 0; p < prompts.size(); ++p)
      for (const Sample& sample : samples[p]) {
        Document document{prompts[p], static_cast<std::int64_t>(prompts[p].size())};
        document.tokens.insert(document.tokens.end(), sample.tokens.begin(), sample.tokens.end());
        const at::Tensor expected =
            response_token_log_probs(model, {document}, response_rows({document}, torch::kCPU)).to(torch::kFloat32);
        const at::Tensor difference = (expected - torch::tensor(sample.log_probs)).abs();
        EXPECT_LT(difference.max().item<double>(), type == torch::kFloat32 ? 1e-3 : 1.0) << p;
        EXPECT_LT(difference.mean().item<double>(), type == torch::kFloat32 ? 1e-4 : 0.2) << p;
        EXPECT_EQ(sample.finished, sample.tokens.back() < 5);
        EXPECT_TRUE(sample.finished || sample.tokens.size() == 40);
        num_finished += sample.finished;
        num_tokens += static_cast<std::int64_t>(sample.tokens.size());
      }
    EXPECT_GT(num_finished, 0);
    EXPECT_GT(num_tokens, 60);
  }
}

TEST(Generation, ASampleDoesNotDependOnTheOthers) {
  const Llama model = small_model();
  const auto prompts = some_prompts();
  const GenerationOptions options = some_options();
  const auto together = generate(model, prompts, {10, 11, 12, 13}, options);
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto alone = generate(model, {prompts[p]}, {static_cast<std::int64_t>(10 + p)}, options);
    for (std::size_t k = 0; k < alone[0].size(); ++k) {
      EXPECT_EQ(alone[0][k].tokens, together[p][k].tokens);
      EXPECT_EQ(alone[0][k].log_probs, together[p][k].log_probs);
    }
  }
}

TEST(Generation, OverRanksEveryoneGetsTheSameSamples) {
  const Communicator world = Communicator::world();
  const Llama model = small_model();
  GenerationOptions options = some_options();
  options.prompts_per_batch = 1;
  const auto expected = generate(model, some_prompts(), {0, 1, 2, 3}, some_options());
  const auto samples = generate_over_ranks(model, some_prompts(), {0, 1, 2, 3}, options, world);
  for (std::size_t p = 0; p < expected.size(); ++p)
    for (std::size_t k = 0; k < expected[p].size(); ++k) {
      EXPECT_EQ(samples[p][k].tokens, expected[p][k].tokens);
      EXPECT_EQ(samples[p][k].log_probs, expected[p][k].log_probs);
      EXPECT_EQ(samples[p][k].finished, expected[p][k].finished);
    }
}

TEST(Generation, BadRequestsAreNamed) {
  GenerationOptions options = some_options();
  EXPECT_THROW(generate(small_model(), {{}}, {0}, options), Error);
  EXPECT_THROW(generate(small_model(1), {{1}}, {0}, options), Error);
  options.max_new_tokens = 200;
  EXPECT_THROW(generate(small_model(), {{1}}, {0}, options), Error);
}

}  // namespace
}  // namespace rluf
