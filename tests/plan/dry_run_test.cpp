// Ranks that are not there do what real ones do: the same calls with the same bytes, which are those of the plan.
#include "rluf/pipeline/plan/dry_run.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "rluf/core/error.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"

namespace rluf {
namespace {

LlamaConfig small_config(bool tied) {
  return {.vocab_size = 64,
          .hidden_size = 32,
          .intermediate_size = 48,
          .num_layers = 3,
          .num_heads = 8,
          .num_kv_heads = 4,
          .head_dim = 4,
          .max_position_embeddings = 64,
          .tie_word_embeddings = tied};
}

constexpr std::int64_t kExamples = 12, kTokens = 10, kRows = 4, kMicroBatchTokens = 20;  // two examples a micro-batch

TrainOptions options_of(std::int64_t trainable_layers, std::int64_t rank) {
  return {.trainable_layers = trainable_layers, .lora_rank = rank};
}

PlanInput input_of(std::int64_t ranks, const LlamaConfig& config, const TrainOptions& options = {}) {
  PlanInput input;
  input.options.ranks = ranks;
  PlannedTraining training;
  training.model = {"sft", "small", trained_config(config, options)};
  training.options = options;
  training.step = {.examples = kExamples,
                   .tokens_each = kTokens,
                   .rows_each = kRows,
                   .micro_batch_tokens = kMicroBatchTokens,
                   .trainable_layers = options.trainable_layers};
  training.examples = kExamples;
  input.trainings.push_back(training);
  return input;
}

using TrafficOfAxes = std::map<std::string, std::map<std::string, Traffic>>;

TrafficOfAxes traffic_of(const ProcessGrid& grid) {
  const Communicator& replicas = grid.tensor.size() > 1 ? grid.replicas : grid.world;
  return {{"data", grid.data.traffic()},
          {"shard", grid.shard.traffic()},
          {"tensor", grid.tensor.traffic()},
          {"replicas", replicas.traffic()}};
}

PlanLayout layout_of(const ParallelOptions& parallel, std::int64_t ranks) {
  return {.ranks = ranks,
          .ranks_per_node = ranks,
          .shard = parallel.shard,
          .tensor = parallel.tensor,
          .zero = parallel.zero,
          .recompute = recompute_named(parallel.recompute),
          .reduces_bf16 = parallel.gradient_reduction == "bf16"};
}

void add(const std::vector<PlannedTraffic>& traffic, std::int64_t times, TrafficOfAxes& all) {
  for (const PlannedTraffic& one : traffic) {
    std::string collective = name_of(one.collective);
    std::replace(collective.begin(), collective.end(), '-', '_');
    Traffic& sum = all[name_of(one.axis)][collective];
    sum.calls += times * static_cast<std::int64_t>(one.calls.value());
    sum.bytes += times * static_cast<std::int64_t>(one.bytes.value());
  }
}

/// What a real step on that grid hands over.
TrafficOfAxes real_traffic(const LlamaConfig& config, const ParallelOptions& parallel, const TrainOptions& options) {
  const ProcessGrid grid = ProcessGrid::make(parallel.shard, parallel.tensor);
  Llama model(config, 3, at::kCPU, make_layout(parallel, grid));
  make_trainable(model, options, 1);
  AdamW optimizer(model, options, grid.world);
  const std::vector<Document> documents(kExamples, {TokenIds(kTokens, 1), kTokens - kRows});
  const std::vector<double> ones(kExamples, 1.0);
  std::vector<std::vector<std::int64_t>> micro_batches;
  for (std::int64_t i = 0; i < kExamples; i += 2) micro_batches.push_back({i, i + 1});
  const LossFunction scoring = [](const Llama& current, const std::vector<std::int64_t>& examples) {
    const auto batch = PackedBatch::from(std::vector<TokenIds>(examples.size(), TokenIds(kTokens, 1)), at::kCPU);
    return MicroLoss{current.scores(current.hidden(batch), batch).sum(), {}};
  };
  train_step(model, optimizer, micro_batches, kExamples, 1e-3,
             config.num_scores > 0 ? scoring : weighted_log_prob_loss(documents, ones), grid.world);
  return traffic_of(grid);
}

/// The plan's figures for one step: micro-batches of this rank and the end of the step.
TrafficOfAxes planned_traffic(const LlamaConfig& config, const ParallelOptions& parallel, std::int64_t ranks,
                              const TrainOptions& options) {
  const PlanLayout layout = layout_of(parallel, ranks);
  const ModelOnLayout model =
      model_on(trained_config(config, options), layout, options.trainable_layers, 4, options.reproducible ? 8 : 4);
  const std::int64_t micro_batches = kExamples / 2,
                     rounds = (micro_batches + layout.replicas() - 1) / layout.replicas();
  TrafficOfAxes all;
  add(micro_batch_traffic(model, layout, Workload::of_means(2, kTokens, kRows)), rounds, all);
  add(end_of_step_traffic(model, layout), 1, all);
  return all;
}

std::string text_of(const TrafficOfAxes& traffic) {
  std::string text;
  for (const auto& [axis, collectives] : traffic)
    for (const auto& [collective, sum] : collectives)
      if (sum.calls > 0) text += concat(axis, " ", collective, ": ", sum.calls, " calls, ", sum.bytes, " bytes\n");
  return text;
}

struct Trained {
  const char* text;
  LlamaConfig config;
  TrainOptions options;
};

std::vector<Trained> trainings() {
  LlamaConfig scoring = small_config(true);
  scoring.num_scores = 3;
  return {{"all, tied", small_config(true), options_of(-1, 0)},
          {"all", small_config(false), options_of(-1, 0)},
          {"last layer, tied", small_config(true), options_of(1, 0)},
          {"adapters of all layers", small_config(false), options_of(-1, 4)},
          {"three heads and the last layer", scoring, options_of(1, 0)},
          {"three heads and adapters of two layers", scoring, options_of(2, 3)}};
}

/// Every grid of these ranks with everything that [parallel] can say.
std::vector<ParallelOptions> grids(std::int64_t ranks) {
  std::vector<ParallelOptions> all;
  for (std::int64_t shard = 1; shard <= ranks; ++shard)
    for (const std::int64_t tensor : {1, 2, 4})
      if (ranks % (shard * tensor) == 0)
        for (const std::int64_t zero : {1, 2, 3})
          for (const std::string recompute : {"none", "selective", "layers"})
            all.push_back({shard, tensor, zero, recompute});
  return all;
}

std::string text_of(const ParallelOptions& parallel) {
  return concat("shard ", parallel.shard, ", tensor ", parallel.tensor, ", zero ", parallel.zero, ", recompute ",
                parallel.recompute);
}

/// Of the whole walk only the training step: what it does besides is taken off.
TEST(DryRun, CallsAndBytesAreThoseOfRealRanksAndOfThePlan) {
  const Communicator world = Communicator::world();
  for (const ParallelOptions& parallel : grids(world.size()))
    for (const auto& [text, config, options] : trainings()) {
      const std::string where = concat(text_of(parallel), ", ", text);
      const auto real = real_traffic(config, parallel, options);
      const auto planned = planned_traffic(config, parallel, world.size(), options);
      if (world.rank() == 0) {
        EXPECT_EQ(text_of(real), text_of(planned)) << where;
      }
      const DryRun walked = dry_run(input_of(world.size(), config, options), parallel);
      EXPECT_EQ(walked.stages.size(), 1U);
      EXPECT_GT(walked.num_tensors, 0);
      // Besides the step the walk gathers whole parameters, as saving does.
      for (const auto& [axis, collectives] : real)
        for (const auto& [collective, sum] : collectives) {
          const auto& found = walked.traffic.at(axis);
          const bool saves = collective == "all_gather" && axis != "replicas" && axis != "data";
          const Traffic of = found.contains(collective) ? found.at(collective) : Traffic{};
          if (world.rank() == 0 && (axis != "replicas" || parallel.tensor > 1)) {
            EXPECT_TRUE(saves ? of.calls >= sum.calls : of == sum)
                << where << ": " << axis << " " << collective << " " << of.calls << " " << sum.calls;
          }
        }
    }
}

TEST(DryRun, GradientsInBfloat16AreHalfTheBytesOfThePlanToo) {
  const Communicator world = Communicator::world();
  for (const std::int64_t zero : {1, 2, 3})
    for (const std::string type : {"f32", "bf16"}) {
      const ParallelOptions parallel{.shard = world.size(), .zero = zero, .gradient_reduction = type};
      const TrainOptions options{.reproducible = false};
      const auto real = real_traffic(small_config(true), parallel, options);
      const auto planned = planned_traffic(small_config(true), parallel, world.size(), options);
      if (world.rank() == 0) {
        EXPECT_EQ(text_of(real), text_of(planned)) << "zero " << zero << ", " << type;
      }
      PlanInput input = input_of(world.size(), small_config(true), options);
      input.reproducible = false;
      const DryRun walked = dry_run(input, parallel);
      for (const auto& [axis, collectives] : real)
        if (collectives.contains("reduce_scatter") && world.rank() == 0 && axis != "replicas") {
          EXPECT_EQ(walked.traffic.at(axis).at("reduce_scatter"), collectives.at("reduce_scatter"));
        }
    }
}

TEST(DryRun, AnOptimizerOnTheHostTakesNothingOfTheDevice) {
  const LlamaConfig config = small_config(false);
  const PlanInput input = input_of(4, config);
  const DryRun on_device = dry_run(input, {.shard = 2}),
               on_host = dry_run(input, {.shard = 2, .optimizer_memory = "host"});
  const PlanLayout layout{.ranks = 4, .ranks_per_node = 4, .shard = 2, .tensor = 1, .zero = 3};
  const double moments = 8 * model_on(config, layout, -1, 4, 8).moments.value();
  const auto saved = static_cast<double>(on_device.stages[0].most_bytes - on_host.stages[0].most_bytes);
  EXPECT_NEAR(saved, moments, 0.01 * moments);
  EXPECT_EQ(on_device.num_calls, on_host.num_calls);
}

/// A judge that is a chat model, a witness with several heads, and weights on their way to generation.
TEST(DryRun, ScoringAndGenerationHandOverWhatIsPlanned) {
  const Communicator world = Communicator::world();
  LlamaConfig heads = small_config(true);
  heads.num_scores = 3;
  const std::vector<TokenIds> documents(kExamples, TokenIds(kTokens, 1));
  for (const ParallelOptions& parallel : grids(world.size())) {
    const PlanLayout layout = layout_of(parallel, world.size());
    const std::int64_t rounds = (kExamples / 2 + layout.replicas() - 1) / layout.replicas();
    const auto check = [&](const LlamaConfig& config, const std::vector<PlannedTraffic>& each, std::int64_t times,
                           const std::function<void(Llama&, const ProcessGrid&)>& work) {
      const ProcessGrid grid = ProcessGrid::make(parallel.shard, parallel.tensor);
      Llama model(config, 3, at::kCPU, make_layout(parallel, grid));
      work(model, grid);
      TrafficOfAxes planned;
      add(each, times, planned);
      if (world.rank() == 0) {
        EXPECT_EQ(text_of(traffic_of(grid)), text_of(planned)) << text_of(parallel);
      }
    };
    const auto forward = [&](const LlamaConfig& config, double rows_each) {
      return forward_traffic(model_on(config, layout, -1, 4, 8), layout, Workload::of_means(2, kTokens, rows_each));
    };
    const LlamaConfig chat = small_config(false);
    check(chat, forward(chat, 2), rounds, [&](Llama& model, const ProcessGrid& grid) {
      next_token_log_probs(model, documents, {3, 8}, kMicroBatchTokens, grid.world, "judge model");
    });
    check(heads, forward(heads, 0), rounds, [&](Llama& model, const ProcessGrid& grid) {
      score_documents(model, documents, kMicroBatchTokens, grid.world, "witness");
    });
    for (const std::int64_t rank : {0, 4}) {
      const TrainOptions options = options_of(2, rank);
      const ModelOnLayout trained = model_on(trained_config(chat, options), layout, 2, 4, 8);
      check(chat, weights_for_generation_traffic(trained, layout), 1, [&](Llama& model, const ProcessGrid&) {
        make_trainable(model, options, 1);
        model.for_inference();
      });
      const auto scored = [&](std::int64_t layers) {
        return forward_traffic(model_on(trained_config(chat, options), layout, layers, 4, 8), layout,
                               Workload::of_means(2, kTokens, kRows));
      };
      check(chat, scored(2), rounds, [&](Llama& model, const ProcessGrid& grid) {
        make_trainable(model, options, 1);
        response_log_probs(model, std::vector<Document>(kExamples, {TokenIds(kTokens, 1), kTokens - kRows}),
                           kMicroBatchTokens, grid.world, "policy");
      });
    }
  }
}

TEST(DryRun, MemoryIsWhatRanksHold) {
  const LlamaConfig config = small_config(false);
  std::int64_t weights = 0;
  for (const auto& [name, shape] : parameter_shapes(config)) weights += 4 * c10::multiply_integers(shape);
  const DryRun alone = dry_run(input_of(1, config), {1, 1, 1, "none"});
  // Weights, two moments, their gradients and 64-bit sums at the least.
  EXPECT_GT(alone.stages[0].most_bytes, weights * (1 + 2 + 2));
  EXPECT_LT(alone.stages[0].most_bytes, weights * 12);
  const DryRun shared = dry_run(input_of(16, config), {8, 2, 3, "layers"});
  EXPECT_LT(shared.stages[0].most_bytes, alone.stages[0].most_bytes / 4);
  EXPECT_LE(shared.stages[0].fewest_bytes, shared.stages[0].most_bytes);
}

TEST(DryRun, CallsThatNeverMeetAreNamed) {
  const std::vector<std::vector<int>> groups{{0, 1, 2}, {0, 1}};
  const CollectiveCall all{0, "all_reduce", 8}, pair{1, "all_gather", 16}, other{1, "all_gather", 24};
  match_calls(groups, {{all, pair, all}, {all, pair, all}, {all, all}});
  const auto message = [&](const std::vector<CollectiveLog>& logs) -> std::string {
    try {
      match_calls(groups, logs);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  const auto sizes = message({{all, pair}, {all, other}, {all}});
  EXPECT_NE(sizes.find("rank 0 calls all_gather of 16 bytes"), std::string::npos) << sizes;
  EXPECT_NE(sizes.find("rank 1 all_gather of 24 bytes"), std::string::npos) << sizes;
  const auto order = message({{pair, all}, {all, pair}, {all}});
  EXPECT_NE(order.find("waits in"), std::string::npos) << order;
  const auto missing = message({{all, all}, {all, all}, {all}});
  EXPECT_NE(missing.find("rank 0 waits in all_reduce"), std::string::npos) << missing;
  EXPECT_NE(missing.find("rank 2, which is at its end"), std::string::npos) << missing;
}

TEST(DryRun, WalksTheLossOfEveryOptimizer) {
  const LlamaConfig config = small_config(false);
  LlamaConfig heads = config;
  heads.num_scores = 3;
  for (const PolicyOptimizer& optimizer : policy_optimizers()) {
    const TrainOptions options = options_of(-1, optimizer.name == "crraft" ? 0 : 4);
    PlanInput input = input_of(4, config, options);
    input.trainings[0].preference = true;  // and a warm-up
    input.trainings[0].step.documents_each = 2;
    input.has_policy = true;
    input.policy_model = {"policy", "small", config};
    input.scorers = {{{"reference", "small", config}, PlannedScorer::Use::kReference, 0, kRows},
                     {{"love", "small", heads}},
                     {{"witness_1", "small", heads}, PlannedScorer::Use::kWitness},
                     {{"judge_model", "small", config}, PlannedScorer::Use::kJudge, 4, 2}};
    input.policy.train = options;
    input.log_rows = 1000;
    input.audit_rows = 20;
    input.audit_micro_batch_tokens = kMicroBatchTokens;
    input.audited = {{"love", "small", heads}, {"safety", "small", heads}};
    input.has_validate = true;
    input.options.held_out_prompts = 10;
    input.options.prompt_tokens = 6;
    input.options.response_tokens = kRows;
    input.options.love_tokens = kTokens;
    input.policy.optimizer = optimizer.name;
    input.policy.prompts_per_round = 6;
    input.policy.train.micro_batch_tokens = kMicroBatchTokens;
    const DryRun walked = dry_run(input, {2, 2, 3, "layers"});
    ASSERT_EQ(walked.stages.size(), 4U) << optimizer.name;
    EXPECT_EQ(walked.stages[1].name, "evaluate");
    EXPECT_EQ(walked.stages[2].name, "policy");
    EXPECT_EQ(walked.stages[3].name, "validate");
    EXPECT_GT(walked.num_calls, 0);
  }
}

TEST(DryRun, AGridThatDoesNotDivideIsAnError) {
  EXPECT_THROW(dry_run(input_of(6, small_config(true)), {4, 1, 3, "none"}), Error);
}

}  // namespace
}  // namespace rluf
