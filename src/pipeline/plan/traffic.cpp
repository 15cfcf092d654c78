#include "rluf/pipeline/plan/traffic.hpp"

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

constexpr double kFloatBytes = 4;

/// All-reduces of states, of gradients of states: float32 [tokens, D].
PlannedTraffic state_sums(const ModelOnLayout& m, const Quantity& calls, const Quantity& tokens,
                          const std::string& text) {
  return {Axis::kTensor, Collective::kAllReduce, calls, calls * tokens * m.shape.D * kFloatBytes, text};
}

/// The forward pass on the tensor axis: sums after the embedding and after both parts of a layer; each row's largest
/// logarithm, sum of exponentials and chosen logit.
void add_forward_sums(const ModelOnLayout& m, const Workload& load, std::vector<PlannedTraffic>& traffic) {
  traffic.push_back(state_sums(m, 2 * m.shape.L + 1, load.tokens, "outputs of embedding, attention and feed-forward"));
  if (m.config.num_scores == 0)
    traffic.push_back({Axis::kTensor, Collective::kAllReduce, 3, 3 * load.rows * kFloatBytes, "log-probabilities"});
}

/// The forward pass on the shard axis: the embedding and the norms in float32, the layers in two parts each, the head.
PlannedTraffic gathered_weights(const ModelOnLayout& m) {
  const ShapeSymbols& s = m.shape;
  const Quantity head_bytes = m.config.num_scores > 0 ? Quantity(kFloatBytes) : m.compute_bytes;
  return {Axis::kShard, Collective::kAllGather, 2 * s.L + 3,
          m.compute_bytes * s.L * s.layer_matrices / m.tensor +
              m.compute_bytes * (m.trained_layers * m.layer_adapters) + head_bytes * m.head +
              kFloatBytes * (m.embedding + (2 * s.L + 1) * s.D),
          "weights, forward"};
}

/// Weights that the backward pass gathers again: those of the trained layers, which the forward pass has dropped.
PlannedTraffic gathered_again(const ModelOnLayout& m) {
  const ShapeSymbols& s = m.shape;
  const Quantity parts = 2 * m.trained_layers;
  return {Axis::kShard, Collective::kAllGather, parts,
          m.compute_bytes * m.trained_layers * s.layer_matrices / m.tensor +
              m.compute_bytes * (m.trained_layers * m.layer_adapters) + kFloatBytes * parts * s.D,
          "weights, backward"};
}

/// Gradients of one micro-batch, part by part; both uses of a tied embedding together.
PlannedTraffic scattered_gradients(const ModelOnLayout& m) {
  Quantity calls = 2 * m.trained_layers;
  if (!m.has_adapters()) calls = calls + 1;  // the last norm
  if (m.trains_embedding) calls = calls + 1;
  if (m.trains_head && (m.config.num_scores > 0 || !m.config.tie_word_embeddings)) calls = calls + 1;
  return {Axis::kShard, Collective::kReduceScatter, calls, m.travel_bytes * m.trained_local,
          "gradients as they appear"};
}

Quantity number(std::int64_t value) { return static_cast<double>(value); }

}  // namespace

const char* name_of(Collective collective) {
  constexpr const char* names[] = {"all-reduce", "all-gather", "reduce-scatter"};
  return names[static_cast<int>(collective)];
}

std::vector<PlannedTraffic> micro_batch_traffic(const ModelOnLayout& m, const PlanLayout& layout,
                                                const Workload& load) {
  std::vector<PlannedTraffic> traffic;
  const bool layers_again = layout.recompute == Recompute::kLayers, any_again = layout.recompute != Recompute::kNone;
  if (layout.tensor > 1) {
    add_forward_sums(m, load, traffic);
    if (any_again)
      traffic.push_back(state_sums(m, layers_again ? 2 * m.trained_layers : 1 * m.trained_layers, load.tokens,
                                   "outputs that are computed again"));
    Quantity inputs = 2 * m.trained_layers;
    if (m.has_adapters() && !layers_again) inputs = inputs - 1;  // nothing is trained below the first of them
    traffic.push_back(state_sums(m, inputs, load.tokens, "gradients of the inputs of both parts"));
    if (m.has_adapters()) {
      const Quantity sides = 7 * m.trained_layers;
      traffic.push_back({Axis::kTensor, Collective::kAllReduce, sides, kFloatBytes * sides * m.rank * m.shape.D,
                         "gradients of the undivided sides of adapters"});
    }
    if (m.config.num_scores == 0) traffic.push_back(state_sums(m, 1, load.rows, "gradient of the head's input"));
  }
  if (layout.divides_weights()) {
    traffic.push_back(gathered_weights(m));
    traffic.push_back(gathered_again(m));
  }
  if (layout.divides_gradients()) traffic.push_back(scattered_gradients(m));
  return traffic;
}

std::vector<PlannedTraffic> forward_traffic(const ModelOnLayout& m, const PlanLayout& layout, const Workload& load) {
  std::vector<PlannedTraffic> traffic;
  if (layout.tensor > 1) add_forward_sums(m, load, traffic);
  if (layout.divides_weights()) traffic.push_back(gathered_weights(m));
  return traffic;
}

std::vector<PlannedTraffic> end_of_step_traffic(const ModelOnLayout& m, const PlanLayout& layout) {
  std::vector<PlannedTraffic> traffic;
  const Axis axis = layout.divides_gradients() ? Axis::kData : Axis::kReplicas;
  const Quantity& block = layout.divides_gradients() ? m.trained_own : m.trained_local;
  const Quantity parameters = number(m.counts.trained_parameters);
  if (size_of(layout, axis) > 1) {
    traffic.push_back({axis, Collective::kReduceScatter, number(m.counts.buckets), m.travel_bytes * block,
                       "sums of gradients, in buckets"});
    traffic.push_back({axis, Collective::kAllGather, parameters, kFloatBytes * block, "updated rows"});
  }
  if (layout.divides_gradients() && !layout.divides_weights())
    traffic.push_back(
        {Axis::kShard, Collective::kAllGather, parameters, kFloatBytes * m.trained_local, "updated rows"});
  return traffic;
}

std::vector<PlannedTraffic> weights_for_generation_traffic(const ModelOnLayout& m, const PlanLayout& layout) {
  if (!layout.divides_weights()) return {};
  if (!m.has_adapters())
    return {{Axis::kShard, Collective::kAllGather, number(m.counts.parameters),
             m.compute_bytes * m.matrices + kFloatBytes * (m.local - m.matrices), "weights for generation"}};
  constexpr std::int64_t kOfLayer = 14;  // A and B of seven matrices: they come with these, all in float32
  const Quantity merged = m.trained_layers * (m.shape.layer_matrices / m.tensor + m.layer_adapters);
  return {{Axis::kShard, Collective::kAllGather,
           number(m.counts.parameters - kOfLayer * (m.config.num_layers - m.config.lora.first_layer)),
           m.compute_bytes * (m.matrices - merged) + kFloatBytes * (m.local - m.matrices + merged),
           "weights for generation, adapters to be merged"}};
}

std::vector<PlannedTraffic> decode_traffic(const ModelOnLayout& m, const PlanLayout& layout,
                                           const Quantity& sequences) {
  if (layout.tensor == 1) return {};
  return {state_sums(m, 2 * m.shape.L + 1, sequences, "outputs of embedding, attention and feed-forward"),
          {Axis::kTensor, Collective::kAllGather, 1, sequences * m.shape.V * kFloatBytes, "logits"}};
}

Quantity seconds_of(const PlannedTraffic& traffic, const Machine& machine, const PlanLayout& layout) {
  const Quantity n(concat("n_", name_of(traffic.axis)), static_cast<double>(size_of(layout, traffic.axis)));
  const Quantity way = traffic.collective == Collective::kAllReduce ? Quantity(2) : Quantity(1);
  return way * (n - 1) / n * traffic.bytes / bus_rate(machine, layout, traffic.axis) + traffic.calls * machine.latency;
}

Quantity add_traffic_figures(const std::vector<PlannedTraffic>& traffic, const std::string& sum, const Machine& machine,
                             const PlanLayout& layout, std::vector<Figure>& figures) {
  Quantity total = 0;
  for (std::size_t i = 0; i < traffic.size(); ++i) {
    PlannedTraffic named = traffic[i];
    const std::string number = sum + "_" + std::to_string(i + 1);
    named.bytes = named.bytes.as("B_" + number);
    named.calls = named.calls.as("calls_" + number);
    const Quantity seconds = seconds_of(named, machine, layout).as("s_" + number);
    const std::string where = concat(name_of(named.axis), " axis, ", name_of(named.collective), ": ", named.text);
    figures.push_back({where, named.calls, "calls"});
    figures.push_back({"  bytes", named.bytes, "B"});
    figures.push_back({"  seconds", seconds, "s"});
    total = i == 0 ? seconds : total + seconds;
  }
  return total.as("s_" + sum);
}

}  // namespace rluf
