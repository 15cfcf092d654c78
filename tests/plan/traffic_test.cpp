// PlannedTraffic of the plan against sums over the parameters, and times of rings against their formula.
#include "rluf/pipeline/plan/traffic.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <numeric>

namespace rluf {
namespace {

LlamaConfig small() {
  return {.vocab_size = 64,
          .hidden_size = 32,
          .intermediate_size = 48,
          .num_layers = 3,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 8,
          .tie_word_embeddings = false};
}

/// Bytes of all parameters on the first rank of a tensor axis of two, matrices and vectors with their own element size.
double local_bytes(double matrix_bytes, double vector_bytes) {
  double bytes = 0;
  for (const auto& [name, shape] : parameter_shapes(small())) {
    const auto elements =
        static_cast<double>(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
    bytes += shape.size() == 2 ? elements / 2 * matrix_bytes : elements * vector_bytes;
  }
  return bytes;
}

double bytes_of(const std::vector<PlannedTraffic>& traffic, Axis axis, Collective collective) {
  double bytes = 0;
  for (const PlannedTraffic& one : traffic)
    if (one.axis == axis && one.collective == collective) bytes += one.bytes.value();
  return bytes;
}

double calls_of(const std::vector<PlannedTraffic>& traffic, Axis axis) {
  double calls = 0;
  for (const PlannedTraffic& one : traffic)
    if (one.axis == axis) calls += one.calls.value();
  return calls;
}

PlanLayout grid(std::int64_t data, std::int64_t shard, std::int64_t tensor, std::int64_t zero,
                Recompute kind = Recompute::kNone) {
  return {data * shard * tensor, 4, shard, tensor, zero, kind};
}

const Workload kLoad = Workload::of_means(4, 10, 3);  // 40 tokens, 12 rows

TEST(Traffic, OneRankIsSilent) {
  const PlanLayout layout = grid(1, 1, 1, 1);
  const ModelOnLayout model = model_on(small(), layout, -1, 2, 8);
  EXPECT_TRUE(micro_batch_traffic(model, layout, kLoad).empty());
  EXPECT_TRUE(forward_traffic(model, layout, kLoad).empty());
  EXPECT_TRUE(end_of_step_traffic(model, layout).empty());
  EXPECT_TRUE(decode_traffic(model, layout, 5).empty());
}

TEST(Traffic, TensorAxisSumsStatesAndGradients) {
  const double states = 40 * 32 * 4, rows = 12 * 4;
  const auto measure = [&](Recompute kind) {
    const PlanLayout layout = grid(1, 1, 2, 1, kind);
    return micro_batch_traffic(model_on(small(), layout, -1, 2, 8), layout, kLoad);
  };
  const auto plain = measure(Recompute::kNone);
  // The embedding, two a layer forward, two a layer backward, three vectors of the head and the gradient of its input.
  EXPECT_EQ(bytes_of(plain, Axis::kTensor, Collective::kAllReduce), (1 + 6 + 6) * states + 3 * rows + 12 * 32 * 4);
  EXPECT_EQ(calls_of(plain, Axis::kTensor), 1 + 6 + 6 + 3 + 1);
  for (const auto& [kind, sums] : {std::pair{Recompute::kSelective, 3}, {Recompute::kLayers, 6}}) {
    const auto again = measure(kind);
    EXPECT_EQ(
        bytes_of(again, Axis::kTensor, Collective::kAllReduce) - bytes_of(plain, Axis::kTensor, Collective::kAllReduce),
        sums * states);
    EXPECT_EQ(calls_of(again, Axis::kTensor) - calls_of(plain, Axis::kTensor), sums);
  }
}

TEST(Traffic, ShardAxisCarriesWhatZeroDivides) {
  const double sums = local_bytes(8, 8), floats = local_bytes(4, 4);
  // The embedding is looked up as it is stored, in float32: two bytes an element more than other matrices.
  const double typed = local_bytes(2, 4) + 2 * 64 * 32 / 2;
  const double layers = 3 * (2 * 32 * 8 * (4 + 2) + 3 * 32 * 48) / 2 * 2 + 4 * 2 * 3 * 32;
  for (const std::int64_t zero : {1, 2, 3})
    for (const Recompute kind : {Recompute::kNone, Recompute::kSelective, Recompute::kLayers}) {
      const PlanLayout layout = grid(3, 2, 2, zero, kind);
      const ModelOnLayout model = model_on(small(), layout, -1, 2, 8);
      const auto micro = micro_batch_traffic(model, layout, kLoad), end = end_of_step_traffic(model, layout);
      EXPECT_EQ(bytes_of(micro, Axis::kShard, Collective::kAllGather), zero < 3 ? 0 : typed + layers);
      EXPECT_EQ(bytes_of(micro, Axis::kShard, Collective::kReduceScatter), zero > 1 ? sums : 0);
      const Axis axis = zero > 1 ? Axis::kData : Axis::kReplicas, other = zero > 1 ? Axis::kReplicas : Axis::kData;
      const double block = zero > 1 ? model.own.value() : model.local.value();
      EXPECT_EQ(bytes_of(end, axis, Collective::kReduceScatter), 8 * block);
      EXPECT_EQ(bytes_of(end, axis, Collective::kAllGather), 4 * block);
      EXPECT_EQ(calls_of(end, axis), 1 + static_cast<double>(parameter_shapes(small()).size()));
      EXPECT_EQ(calls_of(end, other), 0);
      EXPECT_EQ(bytes_of(end, Axis::kShard, Collective::kAllGather), zero == 2 ? floats : 0);
    }
}

TEST(Traffic, OnlyTrainedParametersTravel) {
  const PlanLayout layout = grid(1, 2, 1, 3, Recompute::kLayers);
  const ModelOnLayout all = model_on(small(), layout, -1, 4, 4), last = model_on(small(), layout, 1, 4, 4);
  const auto of_all = micro_batch_traffic(all, layout, kLoad), of_last = micro_batch_traffic(last, layout, kLoad);
  const double layer = 2 * 32 * 8 * (4 + 2) + 3 * 32 * 48 + 2 * 32;
  EXPECT_EQ(bytes_of(of_all, Axis::kShard, Collective::kReduceScatter) -
                bytes_of(of_last, Axis::kShard, Collective::kReduceScatter),
            4 * (2 * layer + 64 * 32));
  EXPECT_EQ(
      bytes_of(of_all, Axis::kShard, Collective::kAllGather) - bytes_of(of_last, Axis::kShard, Collective::kAllGather),
      4 * 2 * layer);
}

TEST(Traffic, RingsUseLinksInsideANodeAndAllAdaptersBetweenNodes) {
  PlanOptions options;
  options.network_efficiency = 1;
  options.link_gb_per_second = 400;
  options.network_gb_per_second = 50;
  options.collective_microseconds = 0;
  const Machine machine = machine_of(options, "bf16");
  PlanLayout layout{.ranks = 64, .ranks_per_node = 8, .shard = 4, .tensor = 2};
  EXPECT_EQ(bus_rate(machine, layout, Axis::kTensor).value(), 400e9);
  EXPECT_EQ(bus_rate(machine, layout, Axis::kShard).value(), 400e9);
  EXPECT_EQ(bus_rate(machine, layout, Axis::kData).value(), 50e9);
  EXPECT_EQ(bus_rate(machine, layout, Axis::kReplicas).value(), 200e9);
  layout.shard = 16;
  EXPECT_EQ(bus_rate(machine, layout, Axis::kShard).value(), 200e9);
  const PlannedTraffic reduce{Axis::kShard, Collective::kAllReduce, 1, 16e9, ""};
  const PlannedTraffic gather{Axis::kShard, Collective::kAllGather, 1, 16e9, ""};
  EXPECT_DOUBLE_EQ(seconds_of(reduce, machine, layout).value(), 2 * 15.0 / 16 * 16e9 / 200e9);
  EXPECT_DOUBLE_EQ(seconds_of(gather, machine, layout).value(), 15.0 / 16 * 16e9 / 200e9);
}

}  // namespace
}  // namespace rluf
