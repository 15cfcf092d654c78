#include "rluf/model/llama.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/packed_ops.hpp"
#include "rluf/model/scoring.hpp"

namespace rluf {
namespace {

LlamaConfig small_config() {
  LlamaConfig config;
  config.vocab_size = 97;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  return config;
}

std::vector<std::vector<std::int32_t>> some_documents() {
  return {{1, 2, 3, 4, 5}, {6}, {7, 8, 9}, {10, 11, 12, 13, 14, 15, 16, 17}};
}

TEST(PackedAttention, EqualsDenseAttentionDocumentByDocument) {
  torch::manual_seed(0);
  const std::vector<std::int64_t> offsets{0, 5, 6, 6, 14};
  at::Tensor q = torch::randn({14, 6, 8}).requires_grad_(), k = torch::randn({14, 2, 8}).requires_grad_(),
             v = torch::randn({14, 2, 8}).requires_grad_();
  const at::Tensor weight = torch::randn({14, 6, 8});
  const at::Tensor ours = packed_attention(q, k, v, offsets);
  (ours * weight).sum().backward();
  const at::Tensor grad_q = q.grad().clone(), grad_k = k.grad().clone(), grad_v = v.grad().clone();
  for (auto* tensor : {&q, &k, &v}) tensor->mutable_grad() = at::Tensor();

  // The reference: one dense softmax over all tokens with a mask that hides the future and other documents.
  at::Tensor mask = torch::full({14, 14}, -std::numeric_limits<float>::infinity());
  for (std::size_t d = 0; d + 1 < offsets.size(); ++d)
    for (auto i = offsets[d]; i < offsets[d + 1]; ++i)
      for (auto j = offsets[d]; j <= i; ++j) mask[i][j] = 0.0;
  const at::Tensor keys = k.repeat_interleave(3, 1), values = v.repeat_interleave(3, 1);
  const at::Tensor scores = torch::einsum("ihd,jhd->hij", {q, keys}) / std::sqrt(8.0) + mask;
  const at::Tensor reference = torch::einsum("hij,jhd->ihd", {scores.softmax(-1), values});
  (reference * weight).sum().backward();
  EXPECT_TRUE(torch::allclose(ours, reference, 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(grad_q, q.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(grad_k, k.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(torch::allclose(grad_v, v.grad(), 1e-4, 1e-5));
}

TEST(ChosenTokenLogProbs, EqualsLogSoftmaxAcrossSlices) {
  torch::manual_seed(1);
  const std::int64_t vocab = 300000;  // makes slices of 55 rows
  at::Tensor hidden = torch::randn({120, 4}).requires_grad_(), weight = torch::randn({vocab, 4}).requires_grad_();
  const at::Tensor targets = torch::randint(0, vocab, {120}), factor = torch::randn({120});
  const at::Tensor ours = chosen_token_log_probs(hidden, weight, targets);
  (ours * factor).sum().backward();
  const at::Tensor grad_hidden = hidden.grad().clone(), grad_weight = weight.grad().clone();
  hidden.mutable_grad() = at::Tensor();
  weight.mutable_grad() = at::Tensor();
  const at::Tensor reference =
      torch::log_softmax(at::linear(hidden, weight), 1).gather(1, targets.unsqueeze(1)).squeeze(1);
  (reference * factor).sum().backward();
  EXPECT_TRUE(torch::allclose(ours, reference, 1e-4, 1e-4));
  EXPECT_TRUE(torch::allclose(grad_hidden, hidden.grad(), 1e-3, 1e-4));
  EXPECT_TRUE(torch::allclose(grad_weight, weight.grad(), 1e-3, 1e-4));
}

TEST(Llama, DocumentsDoNotSeeEachOther) {
  const Llama model(small_config(), 3, torch::kCPU);
  const auto documents = some_documents();
  const auto together = PackedBatch::from(documents, torch::kCPU);
  const at::Tensor packed = model.hidden(together);
  for (std::size_t d = 0; d < documents.size(); ++d) {
    const at::Tensor alone = model.hidden(PackedBatch::from({documents[d]}, torch::kCPU));
    EXPECT_TRUE(torch::allclose(alone, packed.slice(0, together.offsets[d], together.offsets[d + 1]), 1e-4, 1e-5)) << d;
  }
}

TEST(Llama, InitialWeightsArePureFunctionsOfTheSeed) {
  const Llama a(small_config(), 3, torch::kCPU), b(small_config(), 3, torch::kCPU), c(small_config(), 4, torch::kCPU);
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  EXPECT_TRUE(torch::equal(a.parameter(name), b.parameter(name)));
  EXPECT_FALSE(torch::equal(a.parameter(name), c.parameter(name)));
  EXPECT_NEAR(a.parameter(name).std().item<double>(), 0.02, 0.002);
}

TEST(Llama, TrainableLayersDecideWhereGradientsFlow) {
  LlamaConfig config = small_config();
  config.num_scores = 1;
  Llama model(config, 3, torch::kCPU);
  const auto trainable = [&](std::int64_t layers) {
    model.set_trainable_layers(layers);
    std::vector<std::string> names;
    for (const auto& [name, tensor] : model.parameters())
      if (tensor.requires_grad()) names.push_back(name);
    return names;
  };
  EXPECT_EQ(trainable(0), (std::vector<std::string>{"model.norm.weight", "score.weight"}));
  EXPECT_EQ(trainable(1).size(), 2u + 9u);
  EXPECT_EQ(trainable(-1).size(), model.parameters().size());
}

TEST(Llama, SavesAndLoadsTheSameWeights) {
  const std::string folder = testing::TempDir() + "rluf_llama_save";
  std::filesystem::remove_all(folder);
  LlamaConfig config = small_config();
  config.rope_scaling = RopeScaling{};
  config.eos_token_ids = {1, 2};
  const Llama model(config, 3, torch::kCPU);
  model.save(folder, "");
  const Llama loaded = Llama::load(folder, torch::kCPU);
  EXPECT_EQ(loaded.config().to_json(), [&] {
    auto c = config;
    return c.to_json();
  }());
  for (const auto& [name, tensor] : model.parameters())
    EXPECT_TRUE(torch::equal(tensor, loaded.parameter(name))) << name;
  // As a reward model it gets a fresh head and keeps the rest.
  const Llama scorer = Llama::load(folder, torch::kCPU, 1, 5);
  EXPECT_EQ(scorer.parameter("score.weight").sizes(), (std::vector<std::int64_t>{1, 32}));
  EXPECT_TRUE(torch::equal(scorer.parameter("model.norm.weight"), model.parameter("model.norm.weight")));
  EXPECT_THROW(scorer.log_probs(torch::zeros({1, 32}), torch::zeros({1}, torch::kInt64)), Error);
  EXPECT_THROW(model.scores(torch::zeros({1, 32}), PackedBatch::from({{1}}, torch::kCPU)), Error);
}

TEST(Llama, BadFoldersAreNamed) {
  const std::string folder = testing::TempDir() + "rluf_llama_bad";
  std::filesystem::remove_all(folder);
  const auto message = [&] {
    try {
      Llama::load(folder, torch::kCPU);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(message().find("config.json"), std::string::npos);
  Llama(small_config(), 3, torch::kCPU).save(folder, "");
  Json config = read_json(folder + "/config.json");
  const auto with = [&](const char* key, const Json& value) {
    Json changed = config;
    changed[key] = value;
    std::ofstream(folder + "/config.json") << changed.dump();
    return message();
  };
  EXPECT_NE(with("hidden_size", 40).find("model.embed_tokens.weight"), std::string::npos);
  EXPECT_NE(with("num_hidden_layers", 3).find("model.layers.2"), std::string::npos);
  EXPECT_NE(with("num_hidden_layers", 1).find("unexpected tensor"), std::string::npos);
  EXPECT_NE(with("vocab_size", -5).find("vocab_size"), std::string::npos);
  EXPECT_NE(with("num_key_value_heads", 3).find("evenly"), std::string::npos);
  EXPECT_NE(with("model_type", "gpt2").find("gpt2"), std::string::npos);
  EXPECT_NE(with("hidden_size", "wide").find("wrong type"), std::string::npos);
}

TEST(ResponseRows, PredictsEveryResponseTokenFromTheStateBefore) {
  const std::vector<Document> documents{{{5, 6, 7, 8}, 2}, {{9, 10, 11}, 1}};
  const ResponseRows response = response_rows(documents, torch::kCPU);
  EXPECT_TRUE(torch::equal(response.rows, torch::tensor({1, 2, 4, 5}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(response.targets, torch::tensor({7, 8, 10, 11}, torch::kInt64)));
  EXPECT_EQ(response.offsets, (std::vector<std::int64_t>{0, 2, 4}));
}

}  // namespace
}  // namespace rluf
