// Parameters and operations of the plan against the model itself, which is run and watched.
#include "rluf/pipeline/plan/model_work.hpp"

#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <map>
#include <mutex>
#include <numeric>

#include "rluf/model/scoring.hpp"
#include "rluf/model/training.hpp"

namespace rluf {
namespace {

LlamaConfig tiny(std::int64_t scores, bool tied) {
  return {.vocab_size = 97,
          .hidden_size = 32,
          .intermediate_size = 80,
          .num_layers = 3,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 6,
          .max_position_embeddings = 64,
          .tie_word_embeddings = tied,
          .num_scores = scores};
}

double elements(const LlamaConfig& config) {
  double sum = 0;
  for (const auto& [name, shape] : parameter_shapes(config))
    sum += static_cast<double>(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
  return sum;
}

/// Operations of every matrix product and attention kernel that runs while it lives, by the shapes of their inputs.
class OperationCount {
 public:
  double matrices = 0, attention = 0;
  OperationCount() {
    current() = this;
    handle_ = at::addGlobalCallback(at::RecordFunctionCallback([](const at::RecordFunction& function) {
                                      current()->add(function);
                                      return std::unique_ptr<at::ObserverContext>();
                                    })
                                        .needsInputs(true)
                                        .scopes({at::RecordScope::FUNCTION}));
  }
  ~OperationCount() { at::removeCallback(handle_); }

 private:
  static OperationCount*& current() {
    static OperationCount* one = nullptr;
    return one;
  }
  void add(const at::RecordFunction& function) {
    const std::string name = function.name();
    const auto shape = [&](std::size_t i) { return function.inputs()[i].toTensor().sizes().vec(); };
    const std::lock_guard<std::mutex> lock(mutex_);
    if (name == "aten::mm") {
      const auto left = shape(0), right = shape(1);
      matrices += 2.0 * static_cast<double>(left[0] * left[1] * right[1]);
    } else if (name == "aten::addmm" || name == "aten::bmm" || name == "aten::baddbmm" || name == "aten::mv" ||
               name == "aten::addmv") {
      ADD_FAILURE() << name << " is a product that the plan does not know";
    } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") {
      attention += products(shape(0), 2);
    } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward") {
      attention += products(shape(1), 5);
    }
  }
  /// Of one document [1, H, L, K] under the causal mask.
  static double products(const std::vector<std::int64_t>& q_1HLK, double count) {
    return count * 2.0 * static_cast<double>(q_1HLK[1] * q_1HLK[3] * (q_1HLK[2] * (q_1HLK[2] + 1) / 2));
  }
  at::CallbackHandle handle_;
  std::mutex mutex_;
};

ModelOnLayout on_one_rank(const LlamaConfig& config, std::int64_t trainable_layers) {
  return model_on(config, PlanLayout{}, trainable_layers, 4, 8);
}

const std::vector<std::int64_t> kLengths{5, 1, 12, 7};

PackedBatch some_batch() {
  std::vector<std::vector<std::int32_t>> documents;
  for (const std::int64_t length : kLengths)
    for (documents.emplace_back(); static_cast<std::int64_t>(documents.back().size()) < length;)
      documents.back().push_back(static_cast<std::int32_t>(7 * documents.size() + documents.back().size()));
  return PackedBatch::from(documents, torch::kCPU);
}

/// A forward pass, and a backward one where gradients are asked for.
void run(const Llama& model, bool backward) {
  const PackedBatch batch = some_batch();
  const at::Tensor hidden = model.hidden(batch);
  at::Tensor out;
  if (model.config().num_scores > 0) {
    out = model.scores(hidden, batch);
  } else {
    const at::Tensor rows = torch::tensor(std::vector<std::int64_t>{2, 3, 9, 20}, torch::kInt64);
    out = model.log_probs(hidden.index_select(0, rows), torch::tensor(std::vector<std::int64_t>{1, 2, 3, 4}));
  }
  if (backward) out.sum().backward();
}

/// Heads, tied or not, trained layers, rank of adapters.
class ModelWork : public testing::TestWithParam<std::tuple<std::int64_t, bool, std::int64_t, std::int64_t>> {};

TEST_P(ModelWork, OperationsAreTheOnesThatRun) {
  const auto [scores, tied, trainable_layers, rank] = GetParam();
  const TrainOptions options{.trainable_layers = trainable_layers, .lora_rank = rank};
  const std::int64_t ranks = Communicator::world().size(), tensor_ranks = ranks > 1 ? 2 : 1;
  const ProcessGrid grid = ProcessGrid::make(1, tensor_ranks);
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kLayers}) {
    Llama model(tiny(scores, tied), 3, torch::kCPU, make_layout({1, tensor_ranks, 1, name_of(recompute)}, grid));
    make_trainable(model, options, 1);
    const LlamaConfig config = trained_config(tiny(scores, tied), options);
    const Workload load = Workload::of(kLengths, scores > 0 ? 0 : 4);
    const PlanLayout layout{.ranks = ranks, .ranks_per_node = ranks, .tensor = tensor_ranks};
    const ModelOnLayout symbols = model_on(config, layout, trainable_layers, 4, 8);
    const Work work = training_work(symbols, load, recompute);
    OperationCount count;
    run(model, true);
    const double matrices = grid.tensor.all_reduce(count.matrices), attention = grid.tensor.all_reduce(count.attention);
    EXPECT_EQ(matrices, work.matrices.value()) << name_of(recompute);
    EXPECT_EQ(attention, work.attention.value()) << name_of(recompute);
    // Without recomputation of states or logits all that runs is useful; attention's backward pass counts four of five.
    if (recompute != Recompute::kNone || ranks > 1) continue;
    const double head = scores > 0 ? 0 : 2.0 * 4 * 97 * 32;
    EXPECT_NEAR(work.useful.value(),
                matrices - head + attention - 2 * load.pairs.value() * 4 * 6 * symbols.trained_layers.value(), 1);
  }
  Llama model(tiny(scores, tied), 3, torch::kCPU);
  make_trainable(model, options, 1);
  const Workload load = Workload::of(kLengths, scores > 0 ? 0 : 4);
  const Work forward = forward_work(on_one_rank(model.config(), trainable_layers), load);
  torch::NoGradGuard no_grad;
  OperationCount count;
  run(model, false);
  EXPECT_EQ(count.matrices, forward.matrices.value());
  EXPECT_EQ(count.attention, forward.attention.value());
}

/// A judge that is a chat model: two words' probabilities after each question; a witness with several heads.
TEST(ModelWork, JudgesAndWitnessesRunWhatIsPlanned) {
  const std::vector<TokenIds> questions(6, TokenIds(9, 5));
  const Communicator self = Communicator::self();
  const Llama chat(tiny(0, true), 3, torch::kCPU), witness(tiny(3, true), 3, torch::kCPU);
  const auto check = [&](const LlamaConfig& config, double rows_each, const std::function<void()>& ask) {
    // Two documents of nine tokens fit into twenty.
    const Work work = forward_work(on_one_rank(config, -1), Workload::of_means(2, 9, rows_each));
    OperationCount count;
    ask();
    EXPECT_EQ(count.matrices, 3 * work.matrices.value());
    EXPECT_EQ(count.attention, 3 * work.attention.value());
  };
  check(chat.config(), 2, [&] { next_token_log_probs(chat, questions, {3, 8}, 20, self, "judge model"); });
  check(witness.config(), 0, [&] { score_documents(witness, questions, 20, self, "witness"); });
}

INSTANTIATE_TEST_SUITE_P(Weights, ModelWork,
                         testing::Combine(testing::Values(0, 1, 3), testing::Bool(), testing::Values(-1, 2, 0),
                                          testing::Values(0)));
INSTANTIATE_TEST_SUITE_P(Adapters, ModelWork,
                         testing::Combine(testing::Values(0, 1, 3), testing::Bool(), testing::Values(-1, 2),
                                          testing::Values(4)));

TEST(ModelShape, ParametersAreThoseOfTheModel) {
  for (const std::string& name : shape_names())
    for (const std::int64_t scores : {0, 1}) {
      LlamaConfig config = shape_named(name, "plan.model");
      config.num_scores = scores;
      EXPECT_EQ(shape_symbols(config).parameters.value(), elements(config)) << name;
    }
  EXPECT_EQ(shape_symbols(tiny(0, false)).parameters.value(), elements(tiny(0, false)));
}

TEST(ModelShape, PublicModelsHaveTheirPublicSizes) {
  // The model cards' counts.
  EXPECT_EQ(shape_symbols(shape_named("llama-3-8b", "")).parameters.value(), 8030261248.0);
  EXPECT_EQ(shape_symbols(shape_named("llama-3-70b", "")).parameters.value(), 70553706496.0);
  EXPECT_EQ(shape_symbols(shape_named("llama-3.2-1b", "")).parameters.value(), 1235814400.0);
  EXPECT_EQ(shape_symbols(shape_named("smollm2-135m", "")).parameters.value(), 134515008.0);
}

TEST(ModelWork, UsefulOperationsAreSixForAParameterAndATokenBesidesAttention) {
  const LlamaConfig config = shape_named("llama-3-70b", "");
  const ShapeSymbols shape = shape_symbols(config);
  const Workload load = Workload::of_means(1, 8192, 8192);
  const ModelOnLayout model = on_one_rank(config, -1);
  const Work work = training_work(model, load, Recompute::kNone);
  const double attention = 12.0 * load.pairs.value() * 80 * 64 * 128;
  const double without_embedding = shape.parameters.value() - shape.embedding.value();
  const double six_n = 6 * without_embedding * 8192;
  // The norms' gains are parameters without products.
  EXPECT_NEAR((work.useful.value() - attention) / six_n, 1.0, 1e-4);
  // A published table counts 449 GFLOP a token for this model with attention halved by its mask at 8,192 tokens.
  EXPECT_NEAR(work.useful.value() / 8192 / 449e9, 1.0, 0.01);
  // Recomputing the layers costs one more forward pass of them.
  const Work again = training_work(model, load, Recompute::kLayers);
  const Work forward = forward_work(model, load);
  EXPECT_EQ(again.attention.value() - work.attention.value(), forward.attention.value());
  EXPECT_EQ(again.matrices.value() - work.matrices.value(), 2 * 8192 * 80 * shape.layer_matrices.value());
  const Work some = training_work(model, load, Recompute::kSelective);
  EXPECT_EQ(some.attention.value(), work.attention.value());
  EXPECT_EQ(some.matrices.value() - work.matrices.value(), 2 * 8192 * 80 * 3 * 8192.0 * 28672);
}

TEST(Workload, MeansGiveWhatEqualLengthsGive) {
  const Workload real = Workload::of(std::vector<std::int64_t>{30, 30, 30}, 12), mean = Workload::of_means(3, 30, 4);
  EXPECT_EQ(real.tokens.value(), mean.tokens.value());
  EXPECT_EQ(real.pairs.value(), mean.pairs.value());
  EXPECT_EQ(real.rows.value(), mean.rows.value());
}

}  // namespace
}  // namespace rluf
