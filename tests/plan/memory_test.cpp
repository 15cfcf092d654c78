// Memory of the plan against real tensors: shares of every rank, AdamW's moments, what autograd keeps, and the peak of
// a whole optimizer step as the allocator sees it.
#include "rluf/pipeline/plan/memory.hpp"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>

#include "rluf/model/scoring.hpp"
#include "rluf/model/training.hpp"
#include "rluf/parallel/process_grid.hpp"

namespace rluf {
namespace {

LlamaConfig small(std::int64_t layers) {
  return {.vocab_size = 515,
          .hidden_size = 96,
          .intermediate_size = 252,
          .num_layers = layers,
          .num_heads = 6,
          .num_kv_heads = 2,
          .head_dim = 16,
          .max_position_embeddings = 512,
          .tie_word_embeddings = false};
}

/// Bytes of tensors that are alive, and their peak, on this thread while it lives.
class AllocatedBytes {
 public:
  AllocatedBytes() : counter_(std::make_shared<Counter>()), guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}
  std::int64_t now() const { return counter_->now; }
  std::int64_t peak() const { return counter_->peak; }

 private:
  struct Counter : c10::MemoryReportingInfoBase {
    std::int64_t now = 0, peak = 0;
    void reportMemoryUsage(void*, std::int64_t bytes, std::size_t, std::size_t, c10::Device) override {
      now += bytes;
      peak = std::max(peak, now);
    }
    bool memoryProfilingEnabled() const override { return true; }
  };
  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

/// Shares of a real model's tensors on every rank of a grid.
struct Shares {
  std::int64_t most_local = 0, most_own = 0, most_moments = 0;  ///< of a rank
  std::int64_t own_of_all = 0, moments_of_all = 0;              ///< what is on all ranks of an axis counts once
};

Shares shares_of(const Llama& model, const PlanLayout& layout) {
  Shares shares;
  const int tensor = static_cast<int>(layout.tensor), shard = static_cast<int>(layout.shard),
            data = static_cast<int>(layout.data());
  for (int rank = 0; rank < tensor * shard * data; ++rank) {
    const int t = rank % tensor, s = rank / tensor % shard, d = rank / tensor / shard;
    std::int64_t local = 0, own = 0, moments = 0;
    for (const auto& [name, whole] : model.parameters()) {
      const bool columns_of_matrix = name.find("o_proj") != name.npos || name.find("down_proj") != name.npos;
      const bool is_a = name.find("lora_A") != name.npos, is_b = name.find("lora_B") != name.npos;
      const bool by_columns = columns_of_matrix && !is_b;
      const bool everywhere =
          name.find("norm") != name.npos || name == "score.weight" || (columns_of_matrix ? is_b : is_a);
      const std::int64_t axis = by_columns ? 1 : 0;
      const Range part = everywhere ? Range{0, whole.size(0)} : shard_range(whole.size(axis), tensor, t);
      const at::Tensor here = whole.detach().narrow(axis, part.first, part.count());
      const Range rows = shard_range(here.size(0), shard, s);
      const at::Tensor mine = here.narrow(0, rows.first, rows.count());
      const bool by_shards = layout.zero > 1 && shard > 1;
      const at::Tensor& block = by_shards ? mine : here;
      const Range update =
          by_shards ? shard_range(block.size(0), data, d) : shard_range(block.size(0), data * shard, d * shard + s);
      const std::int64_t updated = whole.requires_grad() ? block.narrow(0, update.first, update.count()).numel() : 0;
      local += here.numel();
      own += mine.numel();
      moments += updated;
      if (everywhere && t > 0) continue;
      if (d == 0) shares.own_of_all += mine.numel();
      shares.moments_of_all += updated;
    }
    shares.most_local = std::max(shares.most_local, local);
    shares.most_own = std::max(shares.most_own, own);
    shares.most_moments = std::max(shares.most_moments, moments);
  }
  return shares;
}

void check_shares(const Llama& model, const PlanLayout& layout, std::int64_t trainable) {
  const Shares shares = shares_of(model, layout);
  const ElementCounts counts = element_counts(model.config(), layout, trainable);
  EXPECT_EQ(counts.local, shares.most_local) << layout.text();
  EXPECT_EQ(counts.own, shares.most_own) << layout.text();
  EXPECT_EQ(counts.trained_moments, shares.most_moments) << layout.text();
  std::int64_t elements = 0, trained = 0;
  for (const auto& [name, tensor] : model.parameters()) {
    elements += tensor.numel();
    if (tensor.requires_grad()) trained += tensor.numel();
  }
  EXPECT_EQ(shares.own_of_all, elements) << layout.text();
  EXPECT_EQ(shares.moments_of_all, trained) << layout.text();
  const ModelOnLayout symbols = model_on(model.config(), layout, trainable, 4, 8);
  EXPECT_EQ(symbols.local.value(), static_cast<double>(counts.local));
  EXPECT_EQ(symbols.own.value(), static_cast<double>(counts.own));
  EXPECT_EQ(symbols.trained_own.value(), static_cast<double>(counts.trained_own));
  EXPECT_EQ(symbols.moments.value(), static_cast<double>(counts.trained_moments));
}

TEST(ElementCounts, AreTheFullestRanksShareAndAllSharesAreTheModel) {
  LlamaConfig reward = small(2);
  reward.num_scores = 1;
  struct Trained {
    std::int64_t layers, rank;
  };
  for (const LlamaConfig& config : {small(2), reward})
    for (const auto& [trainable, rank] : {Trained{-1, 0}, Trained{1, 0}, Trained{-1, 3}, Trained{1, 4}}) {
      Llama model(config, 1, torch::kCPU);
      make_trainable(model, {.trainable_layers = trainable, .lora_rank = rank}, 1);
      for (const std::int64_t tensor : {1, 2})
        for (const std::int64_t shard : {1, 2, 3})
          for (const std::int64_t data : {1, 2, 5})
            for (const std::int64_t zero : {1, 3})
              check_shares(model, {tensor * shard * data, 2, shard, tensor, zero}, trainable);
    }
}

TEST(TrainingMemory, MomentsAreAdamWs) {
  const Communicator world = Communicator::world();
  Llama model(small(2), 1, torch::kCPU);
  const AllocatedBytes bytes;
  const AdamW optimizer(model, TrainOptions{}, world);
  const std::int64_t most = world.all_reduce(bytes.now(), Reduce::kMax);
  const PlanLayout layout{.ranks = world.size(), .ranks_per_node = world.size()};
  const ModelOnLayout symbols = model_on(small(2), layout, -1, 4, 8);
  EXPECT_EQ(static_cast<double>(most), 8 * symbols.moments.value());
}

std::vector<std::vector<std::int32_t>> documents_of(std::int64_t count, std::int64_t length) {
  std::vector<std::vector<std::int32_t>> documents(static_cast<std::size_t>(count));
  for (auto& document : documents)
    for (std::int64_t i = 0; i < length; ++i) document.push_back(static_cast<std::int32_t>((i * 31 + 7) % 500));
  return documents;
}

std::int64_t kept_bytes(const LlamaConfig& config, at::ScalarType type, const TrainOptions& options) {
  Llama model(config, 1, torch::kCPU);
  make_trainable(model, options, 1);
  model.set_compute_type(type);
  const PackedBatch batch = PackedBatch::from(documents_of(4, 64), torch::kCPU);
  const AllocatedBytes bytes;
  const at::Tensor hidden = model.hidden(batch);
  return bytes.now();
}

TEST(TrainingMemory, ActivationsAreWhatAutogradKeeps) {
  // Between two depths everything but the layers cancels.
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
    for (const std::int64_t rank : {0, 5}) {
      const TrainOptions options{.lora_rank = rank};
      const double element = type == at::kFloat ? 4 : 2;
      const double measured =
          static_cast<double>(kept_bytes(small(5), type, options) - kept_bytes(small(2), type, options)) / 3;
      ModelOnLayout model = model_on(trained_config(small(2), options), PlanLayout{}, -1, element, 8);
      model.keeps_normalised = true;
      const double cast =
          type == at::kFloat ? 0 : element * (model.shape.layer_matrices.value() + model.layer_adapters.value());
      EXPECT_EQ(measured, 4 * 64 * layer_activation_bytes(model, Recompute::kNone).value() + cast) << rank;
    }
}

/// Of a step with documents of `length` tokens, measured by what is planned.
void check_peak(const LlamaConfig& config, const TrainOptions& options, const LayoutPointer& shared,
                const PlanLayout& layout, std::int64_t length) {
  const Communicator world = Communicator::world();
  const auto documents = documents_of(8, length);
  std::vector<Document> batch;
  for (const auto& document : documents) batch.push_back({document, 28});
  const AllocatedBytes bytes;
  Llama model(config, 1, torch::kCPU, shared);
  make_trainable(model, options, 1);
  AdamW optimizer(model, options, world);
  std::vector<std::vector<std::int64_t>> micro_batches;
  for (std::int64_t m = 0; m < 2 * world.size(); ++m) micro_batches.push_back({0, 1, 2, 3, 4, 5, 6, 7});
  const auto loss = [&](const Llama& current, const std::vector<std::int64_t>&) {
    const ResponseRows rows = response_rows(batch, torch::kCPU);
    return MicroLoss{-response_token_log_probs(current, batch, rows).sum(), {}};
  };
  train_step(model, optimizer, micro_batches, 8, 1e-4, loss, world);
  ModelOnLayout symbols = model_on(trained_config(config, options), layout, -1, 4, 8);
  symbols.keeps_normalised = true;
  const Workload load = Workload::of_means(8, static_cast<double>(length), static_cast<double>(length - 28));
  const double planned = training_memory(symbols, layout, load, true).peak.value();
  const auto measured = static_cast<double>(bytes.peak());
  std::cout << "peak of a step, " << layout.text() << ", rank of adapters " << options.lora_rank << ": measured "
            << measured << ", planned " << planned << "\n";
  EXPECT_NEAR(measured / planned, 1.0, 0.1) << layout.text();
}

TEST(TrainingMemory, PeakOfAStepIsTheAllocators) {
  const std::int64_t ranks = Communicator::world().size();
  for (const std::int64_t rank : {0, 8})
    check_peak(small(4), {.lora_rank = rank}, nullptr, {.ranks = ranks, .ranks_per_node = ranks}, 128);
}

/// Weights that are divided stand whole for a layer or two only, without recomputation too.
TEST(TrainingMemory, PeakOfAShardedStepToo) {
  const int ranks = Communicator::world().size();
  if (ranks == 1) GTEST_SKIP() << "one rank divides nothing";
  const LlamaConfig config = small(12);
  for (const std::int64_t ahead : {0, 1, 3}) {
    const ParallelOptions parallel{.shard = ranks, .gather_ahead = ahead};
    const PlanLayout layout{.ranks = ranks, .ranks_per_node = ranks, .shard = ranks, .zero = 3, .gather_ahead = ahead};
    check_peak(config, {}, make_layout(parallel, ProcessGrid::make(ranks)), layout, 32);
  }
}

}  // namespace
}  // namespace rluf
