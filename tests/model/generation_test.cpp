#include "rluf/model/generation.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <numeric>

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

/// Twelve prompts of 20 to 53 tokens, many of which begin with the same two blocks.
std::vector<TokenIds> prompts_that_begin_alike() {
  std::vector<TokenIds> prompts;
  for (std::int32_t p = 0; p < 12; ++p) {
    TokenIds& prompt = prompts.emplace_back();
    for (std::int32_t t = 0; t < 20 + 3 * p; ++t) prompt.push_back(5 + (t < 33 ? t + p % 3 : 100 + 7 * p + t));
  }
  return prompts;
}

std::vector<std::int64_t> ids_of(const std::vector<TokenIds>& prompts) {
  std::vector<std::int64_t> ids(prompts.size());
  std::iota(ids.begin(), ids.end(), 10);
  return ids;
}

void expect_equal(const std::vector<std::vector<Sample>>& found, const std::vector<std::vector<Sample>>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t p = 0; p < expected.size(); ++p) {
    ASSERT_EQ(found[p].size(), expected[p].size());
    for (std::size_t k = 0; k < expected[p].size(); ++k) {
      EXPECT_EQ(found[p][k].tokens, expected[p][k].tokens) << p << " " << k;
      EXPECT_EQ(found[p][k].log_probs, expected[p][k].log_probs) << p << " " << k;
      EXPECT_EQ(found[p][k].finished, expected[p][k].finished) << p << " " << k;
    }
  }
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

TEST(Generation, BatchesChunksAndCacheChangeNoBit) {
  std::int64_t times_set_back = 0, shared_tokens = 0;
  for (const at::ScalarType type : {torch::kFloat32, torch::kBFloat16}) {
    Llama model = small_model();
    model.set_compute_type(type);
    const auto prompts = prompts_that_begin_alike();
    GenerationOptions options = some_options();
    options.num_samples = 8;  // so that a MiB is too little for twelve prompts
    options.batching = {.prompts_per_batch = 1, .prefill_tokens = 1000};
    const auto expected = generate(model, prompts, ids_of(prompts), options);
    for (const std::int64_t prefill_tokens : {1, 7, 1000})
      for (const std::int64_t prompts_per_batch : {2, 12})
        for (const std::int64_t cache_mebibytes : {0, 1}) {
          options.batching = {prompts_per_batch, prefill_tokens, cache_mebibytes};
          SchedulerCounts counts;
          expect_equal(generate(model, prompts, ids_of(prompts), options, &counts), expected);
          times_set_back += counts.times_set_back;
          shared_tokens += counts.shared_tokens;
        }
  }
  EXPECT_GT(times_set_back, 0) << "the smaller cache held everything";
  EXPECT_GT(shared_tokens, 0);
}

/// LibTorch's operations round otherwise, so only sure choices are the same.
TEST(Generation, TheDevicesEngineGivesTheTokensOfTheHosts) {
  const Llama model = small_model();
  const auto prompts = prompts_that_begin_alike();
  GenerationOptions options = some_options();
  options.sampling.temperature = 0;
  options.num_samples = 8;
  const auto expected = generate(model, prompts, ids_of(prompts), options);
  options.use_library = true;
  std::int64_t times_set_back = 0;
  for (const std::int64_t prefill_tokens : {5, 1000})
    for (const std::int64_t cache_mebibytes : {0, 1}) {
      options.batching = {
          .prompts_per_batch = 12, .prefill_tokens = prefill_tokens, .cache_mebibytes = cache_mebibytes};
      SchedulerCounts counts;
      const auto samples = generate(model, prompts, ids_of(prompts), options, &counts);
      times_set_back += counts.times_set_back;
      for (std::size_t p = 0; p < samples.size(); ++p)
        for (std::size_t k = 0; k < samples[p].size(); ++k) {
          EXPECT_EQ(samples[p][k].tokens, expected[p][k].tokens);
          for (std::size_t t = 0; t < samples[p][k].log_probs.size(); ++t)
            EXPECT_NEAR(samples[p][k].log_probs[t], expected[p][k].log_probs[t], 1e-3);
        }
    }
  EXPECT_GT(times_set_back, 0);
}

TEST(Generation, OverRanksEveryoneGetsTheSameSamples) {
  const Communicator world = Communicator::world();
  const Llama model = small_model();
  const auto prompts = prompts_that_begin_alike();
  const auto expected = generate(model, prompts, ids_of(prompts), some_options());
  for (const std::int64_t prompts_per_batch : {1, 3, 100}) {
    GenerationOptions options = some_options();
    options.batching.prompts_per_batch = prompts_per_batch;
    expect_equal(generate_over_ranks(model, prompts, ids_of(prompts), options, world), expected);
  }
  EXPECT_TRUE(generate_over_ranks(model, {}, {}, some_options(), world).empty());
}

TEST(Generation, AnErrorOfOneRankIsAllRanks) {
  const Communicator world = Communicator::world();
  Llama model = small_model();
  if (world.rank() == world.size() - 1) {  // its logits are not numbers
    const torch::NoGradGuard no_grad;
    at::Tensor(model.parameters().back().second).fill_(std::nan(""));
  }
  GenerationOptions options = some_options();
  options.batching.prompts_per_batch = 1;
  const auto prompts = prompts_that_begin_alike();
  EXPECT_THROW(generate_over_ranks(model, prompts, ids_of(prompts), options, world), SharedError);
}

TEST(Generation, BadRequestsAreNamed) {
  GenerationOptions options = some_options();
  EXPECT_THROW(generate(small_model(), {{}}, {0}, options), Error);
  EXPECT_THROW(generate(small_model(1), {{1}}, {0}, options), Error);
  options.max_new_tokens = 200;
  EXPECT_THROW(generate(small_model(), {{1}}, {0}, options), Error);
  LlamaConfig wide;  // a block of its cache is larger than the cache
  wide.vocab_size = 8;
  wide.hidden_size = 2;
  wide.intermediate_size = 2;
  wide.num_layers = 1;
  wide.num_heads = wide.num_kv_heads = 64;
  wide.head_dim = 256;
  options = some_options();
  options.batching.cache_mebibytes = 1;
  EXPECT_THROW(generate(Llama(wide, 3, torch::kCPU), {{1}}, {0}, options), Error);
}

}  // namespace
}  // namespace rluf
