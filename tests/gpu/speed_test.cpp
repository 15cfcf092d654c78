// Figures, no verdicts: a Llama of SmolLM2-135M's shape with random weights.
#include "gpu.hpp"
#include "rluf/model/generation.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/model/training.hpp"

namespace rluf {
namespace {

LlamaConfig smollm2_shape() {
  LlamaConfig config;
  config.vocab_size = 49152;
  config.hidden_size = 576;
  config.intermediate_size = 1536;
  config.num_layers = 30;
  config.num_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = 64;
  return config;
}

class Speed : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    need_gpu();
    if (!IsSkipped()) model.emplace(smollm2_shape(), 1, gpu);
  }
  std::optional<Llama> model;
};

TEST_F(Speed, TrainingAndGeneration) {
  const Communicator self = Communicator::self();
  const std::vector<TokenIds> documents = documents_of_lengths(std::vector<std::int64_t>(32, 256), 49152);
  std::vector<Document> examples;
  for (const TokenIds& tokens : documents) examples.push_back({tokens, 128});
  const double num_tokens = 32 * 256;
  const LossFunction loss = [&](const Llama& trained, const std::vector<std::int64_t>&) {
    return MicroLoss{-response_token_log_probs(trained, examples, response_rows(examples, gpu)).mean(), {}};
  };
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const std::string name = type == at::kFloat ? "f32" : "bf16";
    model->set_compute_type(type);
    model->set_trainable_layers(-1);
    AdamW optimizer(*model, TrainOptions{}, self);
    figure("training step of 32 x 256 tokens, " + name,
           num_tokens / seconds_of(3, [&] { train_step(*model, optimizer, {{0}}, 1.0, 1e-5, loss, self); }),
           "tokens/s");
    figure("log-probabilities of 32 x 256 tokens, " + name,
           num_tokens / seconds_of(3, [&] { response_log_probs(*model, examples, 8192, self, "speed"); }), "tokens/s");
    GenerationOptions greedy{.max_new_tokens = 64, .num_samples = 1};
    greedy.sampling.temperature = 0;
    figure("greedy decode, batch 1, " + name,
           64 / seconds_of(2, [&] { generate(*model, {documents[0]}, {0}, greedy); }), "tokens/s");
    const GenerationOptions rollout{.max_new_tokens = 64, .num_samples = 4, .batching = {.prompts_per_batch = 32}};
    std::vector<std::int64_t> ids(32);
    figure("rollout of 32 prompts x 4 samples, " + name,
           32 * 4 * 64 / seconds_of(1, [&] { generate(*model, documents, ids, rollout); }), "tokens/s");
  }
}

}  // namespace
}  // namespace rluf
