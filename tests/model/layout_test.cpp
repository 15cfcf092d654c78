// Every grid gives one rank's numbers: loss, gradient norm, weights, scores, files and checkpoints.
#include "rluf/model/layout.hpp"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/model/generation.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/model/training.hpp"

namespace rluf {
namespace {

constexpr std::int64_t kNumDocuments = 13;
constexpr double kStepSize = 1e-2;

/// Words and widths are multiples of no axis.
LlamaConfig small_config(bool tied, std::int64_t num_scores = 0) {
  return {.vocab_size = 51,
          .hidden_size = 24,
          .intermediate_size = 44,
          .num_layers = 3,
          .num_heads = 8,
          .num_kv_heads = 4,
          .head_dim = 6,
          .max_position_embeddings = 64,
          .tie_word_embeddings = tied,
          .num_scores = num_scores};
}

struct Grid {
  std::int64_t shard, tensor;
  bool operator==(const Grid&) const = default;
};

class Layouts : public testing::Test {
 protected:
  Communicator world = Communicator::world();
  std::vector<Document> documents;
  std::vector<TokenIds> tokens;
  std::vector<std::vector<std::int64_t>> micro_batches{{0, 1, 2}, {3}, {4, 5}, {6, 7, 8, 9}, {10, 11, 12}};
  TrainOptions options;

  Layouts() {
    for (std::uint64_t i = 0; i < kNumDocuments; ++i) {
      RandomStream random(5, Purpose::kSimulation, 0, i);
      Document document{{}, 2};
      for (std::uint64_t t = 0; t < 4 + i % 7; ++t)
        document.tokens.push_back(static_cast<std::int32_t>(random.below(51)));
      tokens.push_back(document.tokens);
      documents.push_back(document);
    }
  }
  /// All grids of this number of ranks that the heads allow.
  std::vector<Grid> grids() const {
    std::vector<Grid> all;
    for (std::int64_t shard = 1; shard <= world.size(); ++shard)
      for (std::int64_t tensor : {1, 2, 4})
        if (world.size() % (shard * tensor) == 0) all.push_back({shard, tensor});
    return all;
  }
  static LayoutPointer layout_of(const Grid& grid, std::int64_t zero, const std::string& recompute) {
    return make_layout({grid.shard, grid.tensor, zero, recompute}, ProcessGrid::make(grid.shard, grid.tensor));
  }
  LossFunction loss() const {
    return [this](const Llama& model, const std::vector<std::int64_t>& examples) {
      std::vector<Document> batch;
      for (const std::int64_t i : examples) batch.push_back(documents[static_cast<std::size_t>(i)]);
      return MicroLoss{-response_token_log_probs(model, batch, response_rows(batch, at::kCPU)).sum(),
                       {{"examples", static_cast<double>(examples.size())}}};
    };
  }
  /// The squared score of each document's end.
  LossFunction score_loss() const {
    return [this](const Llama& model, const std::vector<std::int64_t>& examples) {
      std::vector<TokenIds> batch;
      for (const std::int64_t i : examples) batch.push_back(tokens[static_cast<std::size_t>(i)]);
      const auto packed = PackedBatch::from(batch, at::kCPU);
      return MicroLoss{(model.scores(model.hidden(packed), packed) - 1).square().sum(), {}};
    };
  }
  std::vector<StepResult> trained(Llama& model, const LossFunction& of, const Communicator& comm) const {
    AdamW optimizer(model, options, comm);
    std::vector<StepResult> steps;
    for (int step = 0; step < 3; ++step)
      steps.push_back(train_step(model, optimizer, micro_batches, 13.0, kStepSize, of, comm));
    return steps;
  }
  /// AdamW divides a gradient by its own size, so where it is nearly 0 its rounding shows: by 1 % of a step at most.
  static void expect_close(const Llama& model, const Llama& expected, double tolerance, const std::string& where) {
    for (std::size_t i = 0; i < expected.parameters().size(); ++i) {
      const auto& [name, whole] = expected.parameters()[i];
      const at::Tensor found = model.whole_parameter(i);
      ASSERT_EQ(found.sizes(), whole.sizes());
      const double difference = (found - whole.detach()).abs().max().item<double>();
      EXPECT_LE(difference, tolerance) << name << ", " << where;
    }
  }
};

std::string text_of(const Grid& grid, std::int64_t zero, const std::string& recompute) {
  return concat("shard ", grid.shard, ", tensor ", grid.tensor, ", zero ", zero, ", recompute ", recompute);
}

TEST_F(Layouts, TrainingGivesTheNumbersOfOneRank) {
  const Communicator self = Communicator::self();
  for (const bool tied : {true, false}) {
    Llama alone(small_config(tied), 3, at::kCPU);
    const auto expected = trained(alone, loss(), self);
    for (const Grid& grid : grids())
      for (const std::int64_t zero : {1, 2, 3})
        for (const std::string recompute : {"none", "selective", "layers"}) {
          if (grid.shard == 1 && zero > 1) continue;
          Llama model(small_config(tied), 3, at::kCPU, layout_of(grid, zero, recompute));
          const auto steps = trained(model, loss(), world);
          const std::string where = text_of(grid, zero, recompute) + (tied ? ", tied" : "");
          // Sums over the shard and data axes are exact; those over the tensor axis are rounded in another order.
          const double tolerance = grid.tensor == 1 ? 0 : 1e-5;
          for (std::size_t s = 0; s < steps.size(); ++s) {
            EXPECT_EQ(steps[s].complaint, "") << where;
            EXPECT_NEAR(steps[s].loss, expected[s].loss, tolerance * expected[s].loss) << where;
            EXPECT_NEAR(steps[s].grad_norm, expected[s].grad_norm, tolerance * expected[s].grad_norm) << where;
            EXPECT_EQ(steps[s].metrics.at("examples"), 1.0) << where;
          }
          expect_close(model, alone, 1000 * tolerance * kStepSize, where);
        }
  }
}

/// What travels when, and where the optimizer's state stands, changes no bit and no byte.
TEST_F(Layouts, GatheringAheadAndTheHostsMemoryChangeNothing) {
  if (world.size() == 1) GTEST_SKIP() << "one rank divides nothing";
  Llama alone(small_config(true), 3, at::kCPU);
  const auto expected = trained(alone, loss(), Communicator::self());
  for (const std::string recompute : {"none", "selective", "layers"}) {
    std::map<std::string, Traffic> waited_for;
    for (const std::int64_t ahead : {0, 1, 5}) {
      ParallelOptions parallel{.shard = world.size(), .recompute = recompute, .gather_ahead = ahead};
      if (ahead == 5) parallel.optimizer_memory = "host";
      const LayoutPointer layout = make_layout(parallel, ProcessGrid::make(world.size()));
      Llama model(small_config(true), 3, at::kCPU, layout);
      const auto steps = trained(model, loss(), world);
      const std::string where = concat("recompute ", recompute, ", ", ahead, " layers ahead");
      for (std::size_t s = 0; s < steps.size(); ++s) EXPECT_EQ(steps[s].grad_norm, expected[s].grad_norm) << where;
      expect_close(model, alone, 0, where);
      if (ahead == 0) waited_for = layout->grid.shard.traffic();
      EXPECT_EQ(layout->grid.shard.traffic(), waited_for) << where;
    }
  }
}

/// Gradients in bfloat16: close, in half the bytes of float32, on every grid.
TEST_F(Layouts, GradientsInBfloat16AreCloseInHalfTheBytes) {
  EXPECT_THROW((ParallelOptions{.gradient_reduction = "bf16"}.check(true)), Error);
  options.reproducible = false;
  Llama alone(small_config(false), 3, at::kCPU);
  const auto expected = trained(alone, loss(), Communicator::self());
  for (const Grid& grid : grids())
    for (const std::int64_t zero : {1, 2, 3}) {
      if (grid.shard == 1 && zero > 1) continue;
      std::map<std::string, std::int64_t> bytes;
      for (const std::string type : {"f32", "bf16"}) {
        const ParallelOptions parallel{
            .shard = grid.shard, .tensor = grid.tensor, .zero = zero, .gradient_reduction = type};
        EXPECT_NO_THROW(parallel.check(type == "f32"));
        const ProcessGrid axes = ProcessGrid::make(grid.shard, grid.tensor);
        Llama model(small_config(false), 3, at::kCPU, make_layout(parallel, axes));
        const auto steps = trained(model, loss(), axes.world);
        const std::string where = text_of(grid, zero, "none") + ", " + type;
        const double tolerance = type == "f32" ? 1e-5 : 3e-3;
        for (std::size_t s = 0; s < steps.size(); ++s) {
          EXPECT_NEAR(steps[s].loss, expected[s].loss, tolerance * expected[s].loss) << where;
          EXPECT_NEAR(steps[s].grad_norm, expected[s].grad_norm, 3 * tolerance * expected[s].grad_norm) << where;
        }
        for (const Communicator& axis : {axes.shard, axes.data, replicas_of(model.layout(), axes.world)})
          if (axis.traffic().contains("reduce_scatter")) bytes[type] += axis.traffic().at("reduce_scatter").bytes;
      }
      EXPECT_EQ(2 * bytes["bf16"], bytes["f32"]) << text_of(grid, zero, "none");
      EXPECT_EQ(bytes["f32"] > 0, world.size() > grid.tensor);
    }
}

TEST_F(Layouts, ScoringModelsToo) {
  Llama alone(small_config(true, 1), 4, at::kCPU);
  trained(alone, score_loss(), Communicator::self());
  const auto expected = score_documents(alone, tokens, 8, Communicator::self(), "alone");
  for (const Grid& grid : grids()) {
    Llama model(small_config(true, 1), 4, at::kCPU, layout_of(grid, 3, "layers"));
    trained(model, score_loss(), world);
    const auto scores = score_documents(model, tokens, 8, world, "together");
    for (std::size_t i = 0; i < scores.size(); ++i)
      EXPECT_NEAR(scores[i], expected[i], grid.tensor == 1 ? 0 : 1e-5) << text_of(grid, 3, "layers");
  }
}

TEST_F(Layouts, SamplesToo) {
  const Llama alone(small_config(false), 6, at::kCPU);
  std::vector<TokenIds> prompts(tokens.begin(), tokens.begin() + 5);
  GenerationOptions generation;
  generation.max_new_tokens = 12;
  generation.num_samples = 3;
  generation.stop_ids = {7};
  generation.seed = 11;
  for (const bool use_library : {false, true}) {
    generation.use_library = use_library;
    const auto expected = generate(alone, prompts, {0, 1, 2, 3, 4}, generation);
    for (const Grid& grid : grids()) {
      const Llama model(small_config(false), 6, at::kCPU, layout_of(grid, 3, "none"));
      const auto samples = generate_over_ranks(model, prompts, {0, 1, 2, 3, 4}, generation, world);
      for (std::size_t p = 0; p < prompts.size(); ++p)
        for (std::size_t k = 0; k < 3; ++k) {
          EXPECT_EQ(samples[p][k].tokens, expected[p][k].tokens) << text_of(grid, 3, "none");
          EXPECT_EQ(samples[p][k].finished, expected[p][k].finished);
          for (std::size_t t = 0; t < std::min(samples[p][k].log_probs.size(), expected[p][k].log_probs.size()); ++t)
            EXPECT_NEAR(samples[p][k].log_probs[t], expected[p][k].log_probs[t],
                        grid.tensor == 1 && !use_library ? 0 : 1e-5);
        }
    }
  }
}

TEST_F(Layouts, LastLayersAlone) {
  Llama alone(small_config(false), 3, at::kCPU);
  alone.set_trainable_layers(1);
  const auto expected = trained(alone, loss(), Communicator::self());
  for (const Grid& grid : grids())
    for (const std::string recompute : {"none", "selective", "layers"}) {
      Llama model(small_config(false), 3, at::kCPU, layout_of(grid, 3, recompute));
      model.set_trainable_layers(1);
      const auto steps = trained(model, loss(), world);
      const double tolerance = grid.tensor == 1 ? 0 : 1e-5;
      EXPECT_NEAR(steps.back().loss, expected.back().loss, tolerance * expected.back().loss);
      expect_close(model, alone, 1000 * tolerance * kStepSize, text_of(grid, 3, recompute));
    }
}

/// Base weights and A are those of one rank from the start; B is 0 and then what training makes of it.
TEST_F(Layouts, AdaptersToo) {
  const LoraConfig lora{.rank = 3, .alpha = 6, .first_layer = 1};
  Llama alone(small_config(false), 3, at::kCPU);
  alone.add_adapters(lora, 8);
  const auto expected = trained(alone, loss(), Communicator::self());
  EXPECT_LT(expected.back().loss, expected.front().loss);
  for (const Grid& grid : grids())
    for (const std::int64_t zero : {1, 2, 3})
      for (const std::string recompute : {"none", "selective", "layers"}) {
        if (grid.shard == 1 && zero > 1) continue;
        Llama model(small_config(false), 3, at::kCPU, layout_of(grid, zero, recompute));
        model.add_adapters(lora, 8);
        const auto steps = trained(model, loss(), world);
        const std::string where = text_of(grid, zero, recompute);
        const double tolerance = grid.tensor == 1 ? 0 : 1e-5;
        for (std::size_t s = 0; s < steps.size(); ++s) {
          EXPECT_EQ(steps[s].complaint, "") << where;
          EXPECT_NEAR(steps[s].loss, expected[s].loss, tolerance * expected[s].loss) << where;
          EXPECT_NEAR(steps[s].grad_norm, expected[s].grad_norm, tolerance * expected[s].grad_norm) << where;
        }
        for (std::size_t i = 0; i < alone.parameters().size(); ++i)
          EXPECT_LE((model.whole_parameter(i) - alone.whole_parameter(i)).abs().max().item<double>(),
                    1000 * tolerance * kStepSize)
              << alone.parameters()[i].first << ", " << where;
      }
}

TEST_F(Layouts, Bfloat16IsAsCloseAsItsDigits) {
  Llama alone(small_config(false), 3, at::kCPU);
  alone.set_compute_type(at::kBFloat16);
  const auto expected = trained(alone, loss(), Communicator::self());
  for (const Grid& grid : grids()) {
    Llama model(small_config(false), 3, at::kCPU, layout_of(grid, 3, "layers"));
    model.set_compute_type(at::kBFloat16);
    const auto steps = trained(model, loss(), world);
    for (std::size_t s = 0; s < steps.size(); ++s)
      EXPECT_NEAR(steps[s].loss, expected[s].loss, (grid.tensor == 1 ? 0 : 2e-3) * expected[s].loss);
  }
}

/// A file of one grid is that of one rank, and every grid reads it.
TEST_F(Layouts, FilesMoveBetweenGrids) {
  const std::string folder = testing::TempDir() + concat("rluf_layout_", world.size());
  const Llama alone(small_config(false, 2), 9, at::kCPU);
  for (const Grid& from : grids()) {
    if (world.rank() == 0) std::filesystem::remove_all(folder);
    world.barrier();
    Llama(small_config(false, 2), 9, at::kCPU, layout_of(from, 3, "none")).save(folder, "");
    world.barrier();
    expect_close(Llama::load(folder, at::kCPU), alone, 0, "read by one rank");
    for (const Grid& to : grids())
      for (const std::int64_t zero : {1, 3})
        expect_close(Llama::load(folder, at::kCPU, 0, 0, layout_of(to, zero, "none")), alone, 0,
                     text_of(to, zero, "none"));
    world.barrier();
  }
}

/// A file of adapters, alone and merged, is that of one rank.
TEST_F(Layouts, AdapterFilesAreThoseOfOneRank) {
  const std::string folder = testing::TempDir() + concat("rluf_layout_adapter_", world.size());
  const auto bytes = [&] {
    std::ifstream merged(folder + "/model.safetensors"), adapter(folder + "/adapter/adapter_model.safetensors"),
        config(folder + "/adapter/adapter_config.json");
    std::ostringstream text;
    text << merged.rdbuf() << adapter.rdbuf() << config.rdbuf();
    return text.str();
  };
  std::string expected;
  for (const Grid& grid : grids()) {
    if (grid.tensor > 1) continue;  // rounded otherwise
    Llama model(small_config(false, 2), 9, at::kCPU, layout_of(grid, 3, "none"));
    model.add_adapters({.rank = 2, .alpha = 4, .first_layer = 1}, 5);
    trained(model, score_loss(), world);
    model.save(folder, "");
    world.barrier();
    if (expected.empty()) expected = bytes();
    EXPECT_EQ(bytes(), expected) << text_of(grid, 3, "none");
    EXPECT_GT(expected.size(), 1000u);
    world.barrier();
  }
}

TEST_F(Layouts, CheckpointsMoveBetweenGrids) {
  const std::string folder = testing::TempDir() + concat("rluf_layout_checkpoint_", world.size());
  for (const Grid& from : grids())
    for (const std::int64_t zero : {1, 2, 3}) {
      if (world.rank() == 0) std::filesystem::remove_all(folder);
      world.barrier();
      Llama writer(small_config(true), 3, at::kCPU, layout_of(from, zero, "none"));
      AdamW optimizer(writer, options, world);
      train_step(writer, optimizer, micro_batches, 13.0, kStepSize, loss(), world);
      write_checkpoint(
          folder, {"test", 1, {}},
          [&](StateArchive& archive) {
            optimizer.describe(archive);
            describe_weights(writer, archive);
          },
          world);
      const StepResult expected = train_step(writer, optimizer, micro_batches, 13.0, kStepSize, loss(), world);
      for (const Grid& to : grids()) {
        const std::string where = text_of(from, zero, "none") + " to " + text_of(to, 3, "none");
        Llama reader(small_config(true), 77, at::kCPU, layout_of(to, 3, "none"));
        AdamW continued(reader, options, world);
        const auto checkpoint = Checkpoint::newest(folder, world);
        ASSERT_TRUE(checkpoint.has_value());
        checkpoint->restore([&](StateArchive& archive) {
          continued.describe(archive);
          describe_weights(reader, archive);
        });
        const StepResult step = train_step(reader, continued, micro_batches, 13.0, kStepSize, loss(), world);
        const double tolerance = from.tensor == to.tensor ? 0 : 1e-5;
        EXPECT_NEAR(step.loss, expected.loss, tolerance * expected.loss) << where;
        EXPECT_NEAR(step.grad_norm, expected.grad_norm, tolerance * expected.grad_norm) << where;
        for (std::size_t i = 0; i < reader.parameters().size(); ++i) {
          const at::Tensor found = reader.whole_parameter(i), wanted = writer.whole_parameter(i);
          EXPECT_LE((found - wanted).abs().max().item<double>(), 1000 * tolerance * kStepSize) << where;
        }
      }
      world.barrier();
    }
}

TEST_F(Layouts, WhatARankHoldsIsItsShare) {
  if (world.size() < 2) GTEST_SKIP() << "one rank holds everything";
  const Llama alone(small_config(false), 3, at::kCPU);
  const auto elements = [](const Llama& model) {
    std::int64_t count = 0;
    for (const auto& [name, tensor] : model.parameters()) count += tensor.numel();
    return count;
  };
  const Llama sharded(small_config(false), 3, at::kCPU, layout_of({world.size(), 1}, 3, "layers"));
  EXPECT_EQ(world.all_reduce(elements(sharded)), elements(alone));
  EXPECT_LE(elements(sharded), elements(alone) / world.size() * 11 / 10);
}

TEST_F(Layouts, HeadsThatDoNotDivideAreAnError) {
  if (world.size() != 3) GTEST_SKIP() << "needs three ranks, which divide no heads here";
  try {
    Llama(small_config(true), 3, at::kCPU, layout_of({1, 3}, 3, "none"));
    ADD_FAILURE() << "three ranks share eight heads";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_NE(std::string(error.what()).find("does not divide the model's 8 heads"), std::string::npos);
  }
}

}  // namespace
}  // namespace rluf
