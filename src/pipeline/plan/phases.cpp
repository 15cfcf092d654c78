#include "rluf/pipeline/plan/phases.hpp"

#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

constexpr double kFloatBytes = 4, kFixedPointBytes = 8;

void append(std::vector<Figure>& to, const std::vector<Figure>& from) { to.insert(to.end(), from.begin(), from.end()); }

std::vector<PlannedTraffic> on_axis(const std::vector<PlannedTraffic>& traffic, bool tensor) {
  std::vector<PlannedTraffic> chosen;
  std::copy_if(traffic.begin(), traffic.end(), std::back_inserter(chosen),
               [&](const PlannedTraffic& one) { return (one.axis == Axis::kTensor) == tensor; });
  return chosen;
}

/// The largest of the shares, as "matrix products (61 %)".
std::string largest(const std::vector<std::pair<std::string, double>>& shares) {
  double sum = 0;
  for (const auto& [name, seconds] : shares) sum += seconds;
  const auto most =
      std::max_element(shares.begin(), shares.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return concat(most->first, " (", std::lround(100 * most->second / std::max(sum, 1e-300)), " %)");
}

/// Micro-batches of a step, and how many of them a replica takes.
struct Rounds {
  Quantity examples, tokens_each, limit, in_micro_batch, micro_batches, rounds;
  std::vector<Figure> figures() const {
    return {{"examples", examples},
            {"tokens of an example", tokens_each},
            {"tokens of a micro-batch at most", limit},
            {"examples of a micro-batch", in_micro_batch},
            {"micro-batches", micro_batches},
            {"rounds of a micro-batch a replica", rounds}};
  }
};

Rounds rounds_of(const StepExamples& step, const PlanLayout& layout) {
  Rounds r;
  r.examples = Quantity("B", step.examples);
  r.tokens_each = Quantity("example_tokens", step.documents_each * step.tokens_each);
  r.limit = Quantity("micro_batch_tokens", static_cast<double>(step.micro_batch_tokens));
  r.in_micro_batch = min(r.examples, max(1, floor(r.limit / r.tokens_each))).as("b");
  r.micro_batches = ceil(r.examples / r.in_micro_batch).as("M");
  r.rounds = ceil(r.micro_batches / Quantity("replicas", static_cast<double>(layout.replicas()))).as("r");
  return r;
}

Workload load_of(const Rounds& rounds, const StepExamples& step) {
  return Workload::of_means(rounds.in_micro_batch * step.documents_each, Quantity("document_tokens", step.tokens_each),
                            Quantity("document_rows", step.rows_each));
}

/// Bytes that a layer's element-wise work reads and writes for a token: two norms, two additions to the residual
/// stream, the rotation of queries and keys, silu(gate) up; with adapters their scaling and sum with the matrices'
/// results.
Quantity elementwise_bytes(const ModelOnLayout& m) {
  const ShapeSymbols& s = m.shape;
  const Quantity adapters =
      m.has_adapters()
          ? 5 * m.compute_bytes * (2 * s.D + (s.K * (s.H + 2 * s.G) + 2 * s.F) / m.tensor) * (m.trained_layers / s.L)
          : Quantity(0);
  return (20 + 4 * m.compute_bytes) * s.D +
         (2 * m.compute_bytes * s.K * (s.H + s.G) + 3 * m.compute_bytes * s.F) / m.tensor + adapters;
}

/// Bytes of casting weights to the compute type, or of writing gathered ones, in one pass over the model.
Quantity cast_bytes(const ModelOnLayout& m, const PlanLayout& layout) {
  if (layout.divides_weights()) return 2 * m.compute_bytes * m.local;
  return m.compute_bytes.value() == kFloatBytes ? Quantity(0) : (kFloatBytes + m.compute_bytes) * m.matrices;
}

/// Bytes of adding one micro-batch's gradients to the sums, packed and as terms first where they travel.
Quantity adding_bytes(const ModelOnLayout& m, const PlanLayout& layout) {
  if (!layout.divides_gradients()) return (kFloatBytes + 2 * m.sum_bytes) * m.trained_local;
  return (3 * kFloatBytes + m.travel_bytes) * m.trained_local + (2 * m.sum_bytes + m.travel_bytes) * m.trained_own;
}

ModelOnLayout model_of(const LlamaConfig& config, std::int64_t trainable_layers, const PlanSetting& setting) {
  ModelOnLayout model = model_on(config, setting.layout, trainable_layers, setting.compute_bytes,
                                 setting.reproducible ? kFixedPointBytes : kFloatBytes);
  model.keeps_normalised = setting.machine->on_host;
  return model;
}

/// Of B A of every adapted matrix, added to it in float32 and cast.
Quantity merging_seconds(const ModelOnLayout& m, const Machine& machine) {
  if (!m.has_adapters()) return 0;
  const Quantity matrices = m.trained_layers * m.shape.layer_matrices / m.tensor;
  const Quantity cast = m.compute_bytes.value() == kFloatBytes ? Quantity(0) : kFloatBytes + m.compute_bytes;
  return matrices * (2 * m.rank / machine.matrix_rate + (2 * kFloatBytes + cast) / machine.memory_rate);
}

/// What one axis carries in a step: `rounds` times what a round does, and what the end does.
Quantity bytes_of_step(Axis axis, const Quantity& rounds, const std::vector<PlannedTraffic>& micro_batch,
                       const std::vector<PlannedTraffic>& end) {
  const auto sum = [&](const std::vector<PlannedTraffic>& traffic, const std::string& name) {
    Quantity bytes = 0;
    for (std::size_t i = 0; i < traffic.size(); ++i)
      if (traffic[i].axis == axis) bytes = bytes + Quantity(concat("B_", name, "_", i + 1), traffic[i].bytes.value());
    return bytes;
  };
  const bool tensor = axis == Axis::kTensor;
  return rounds * sum(on_axis(micro_batch, tensor), tensor ? "tensor" : "shard") + sum(end, "end");
}

/// A micro-batch on every replica.
struct Round {
  Quantity compute, memory, tensor, shard, hidden, seconds;
};

Round add_round(const Work& work, const Quantity& moved, const std::vector<PlannedTraffic>& traffic,
                const ModelOnLayout& m, const PlanSetting& setting, std::vector<Figure>& figures) {
  const Machine& machine = *setting.machine;
  Round round;
  round.compute =
      ((work.matrices / machine.matrix_rate + work.attention / machine.attention_rate) / m.tensor).as("s_compute");
  round.memory = (moved / machine.memory_rate).as("s_memory");
  append(figures, {{"a round: arithmetic", round.compute, "s"},
                   {"a round: read and written besides", moved, "B"},
                   {"  seconds", round.memory, "s"}});
  round.tensor = add_traffic_figures(on_axis(traffic, true), "tensor", machine, setting.layout, figures);
  round.shard = add_traffic_figures(on_axis(traffic, false), "shard", machine, setting.layout, figures);
  const Quantity beside = setting.overlap * (round.compute + round.memory);
  round.hidden = min(round.shard, beside).as("s_hidden");
  round.seconds = (round.compute + round.memory + round.tensor + round.shard - round.hidden).as("s_round");
  append(figures, {{"a round: tensor axis", round.tensor, "s"},
                   {"a round: shard axis", round.shard, "s"},
                   {"  of it behind arithmetic and memory", round.hidden, "s"},
                   {"a round", round.seconds, "s"}});
  return round;
}

/// Where the time of the rounds goes; of the shard axis only what the rest does not hide.
std::vector<std::pair<std::string, double>> shares_of(const Round& round, double rounds) {
  return {{"arithmetic", rounds * round.compute.value()},
          {"memory", rounds * round.memory.value()},
          {"tensor axis", rounds * round.tensor.value()},
          {"shard axis", rounds * (round.shard.value() - round.hidden.value())}};
}

std::string of_model(const PlannedModel& model) { return concat(" (", title_of(model), ")"); }

}  // namespace

std::string title_of(const PlannedModel& model) {
  const std::int64_t scores = model.config.num_scores;
  const std::string head = scores > 1    ? concat(scores, " score heads")
                           : scores == 1 ? "a score head"
                                         : "a language-model head";
  return concat(model.shape, " with ", head);
}

Phase training_step(const PlannedModel& model, const StepExamples& step, const PlanSetting& setting) {
  const Machine& machine = *setting.machine;
  const PlanLayout& layout = setting.layout;
  const ModelOnLayout m = model_of(model.config, step.trainable_layers, setting);
  const Rounds rounds = rounds_of(step, layout);
  const Workload load = load_of(rounds, step);
  const Work work = training_work(m, load, layout.recompute);
  const Memory memory = training_memory(m, layout, load, setting.reproducible);
  Phase phase{.title = concat("an optimizer step", of_model(model))};
  phase.lasting_bytes = memory.lasting;
  phase.bytes = memory.besides;
  phase.figures = grid_figures(machine, layout);
  append(phase.figures, m.figures());
  append(phase.figures, rounds.figures());
  append(phase.figures, load.figures());
  append(phase.figures, work.figures);
  append(phase.figures, memory.figures);

  const Quantity elementwise = elementwise_bytes(m).as("e_layer");
  const Quantity passes = layout.recompute == Recompute::kNone ? 1 : 2;
  const Quantity castings = layout.divides_weights() ? 2 : passes.value();
  const Quantity moved = (elementwise * load.tokens * (m.shape.L + (1 + passes) * m.trained_layers) +
                          castings * cast_bytes(m, layout) + adding_bytes(m, layout))
                             .as("B_memory");
  phase.figures.push_back({"element-wise work of a layer on a token", elementwise, "B"});
  const auto micro_batch = micro_batch_traffic(m, layout, load), ending = end_of_step_traffic(m, layout);
  const Round round = add_round(work, moved, micro_batch, m, setting, phase.figures);
  const Quantity end = add_traffic_figures(ending, "end", machine, layout, phase.figures);
  for (const Axis axis : {Axis::kTensor, Axis::kShard, Axis::kData, Axis::kReplicas}) {
    const Quantity bytes = bytes_of_step(axis, rounds.rounds, micro_batch, ending);
    if (bytes.value() > 0)
      phase.figures.push_back({concat("the step, ", name_of(axis), " axis: bytes of all its collectives"),
                               bytes.as(concat("B_step_", name_of(axis))), "B"});
  }
  const Quantity adamw =
      (layout.optimizer_on_host ? 28 * m.moments / machine.host_memory_rate + 8 * m.moments / machine.host_rate
                                : 28 * m.moments / machine.memory_rate)
          .as("s_adamw");
  phase.seconds = (rounds.rounds * round.seconds + end + adamw).as("s_step");
  append(phase.figures,
         {{"end of the step: sums and updated rows", end, "s"},
          {layout.optimizer_on_host ? "AdamW on the host, 28 bytes an element; gradients down, weights up"
                                    : "AdamW reads and writes 28 bytes an element",
           adamw, "s"},
          {"the step", phase.seconds, "s"}});
  phase.useful_flops = (work.useful * rounds.examples / rounds.in_micro_batch).as("f_step");
  phase.figures.push_back({"useful operations of the step, all micro-batches", phase.useful_flops, "FLOP"});
  auto shares = shares_of(round, rounds.rounds.value());
  shares.emplace_back("AdamW", adamw.value());
  shares.emplace_back("end of the step", end.value());
  phase.bound = largest(shares);
  return phase;
}

Phase scoring_phase(const PlannedModel& model, const StepExamples& documents, bool from_host,
                    const PlanSetting& setting) {
  const Machine& machine = *setting.machine;
  const PlanLayout& layout = setting.layout;
  const ModelOnLayout m = model_of(model.config, -1, setting);
  const Rounds rounds = rounds_of(documents, layout);
  const Workload load = load_of(rounds, documents);
  const Work work = forward_work(m, load);
  Phase phase{.title = concat(model.role, " scores ", number_text(documents.examples), " documents", of_model(model))};
  phase.lasting_bytes = (kFloatBytes * (layout.divides_weights() ? m.own : m.local)).as("m_" + model.role);
  phase.bytes = forward_bytes(m, layout, load).as("m_forward_" + model.role);
  phase.figures = grid_figures(machine, layout);
  append(phase.figures, m.held_figures());
  phase.figures.push_back({"weights on a rank, float32", phase.lasting_bytes, "B"});
  append(phase.figures, rounds.figures());
  append(phase.figures, load.figures());
  append(phase.figures, work.figures);
  phase.figures.push_back({"besides: gathered layers, a layer's activations, logits", phase.bytes, "B"});
  const Quantity moved =
      (elementwise_bytes(m) * load.tokens * m.shape.L + cast_bytes(m, layout) + m.compute_bytes * m.local)
          .as("B_memory");
  const Round round = add_round(work, moved, forward_traffic(m, layout, load), m, setting, phase.figures);
  const Quantity arrival = (from_host ? phase.lasting_bytes / machine.host_rate : Quantity(0)).as("s_arrival");
  phase.seconds = (rounds.rounds * round.seconds + arrival).as("s_" + model.role);
  append(phase.figures, {{"weights from the host's memory", arrival, "s"}, {"the phase", phase.seconds, "s"}});
  auto shares = shares_of(round, rounds.rounds.value());
  shares.emplace_back("host's memory", arrival.value());
  phase.bound = largest(shares);
  return phase;
}

Phase generation_phase(const std::string& what, const PlannedModel& model, const GenerationWork& work,
                       const PlanSetting& setting) {
  const Machine& machine = *setting.machine;
  const PlanLayout& layout = setting.layout;
  const ModelOnLayout m = model_of(model.config, -1, setting);
  const ShapeSymbols& s = m.shape;
  const Quantity samples("N", work.samples), prompt("prompt_tokens", work.prompt_tokens),
      response("response_tokens", work.response_tokens), longest_response("longest_response", work.longest_response);
  const Quantity all_prompts("Q", work.prompts), at_once("at_once", static_cast<double>(work.prompts_at_once));
  const Quantity prompts = ceil(all_prompts / Quantity("replicas", static_cast<double>(layout.replicas()))).as("q");
  const Quantity running = (min(prompts, at_once) * samples).as("b");
  const Quantity tokens = max(longest_response, ceil(prompts * samples * response / running)).as("w");
  const Quantity decoded = (s.L * s.layer_matrices + s.V * s.D).as("P_decoded");
  const Quantity cache = cache_bytes_per_token(m).as("kv");
  const Quantity read =
      (m.compute_bytes * decoded / m.tensor + running * cache * (prompt + response / 2)).as("B_token");
  const Quantity memory_seconds = (read / machine.memory_rate).as("s_memory");
  const Quantity compute = (2 * running * decoded / m.tensor / machine.matrix_rate).as("s_compute");
  const Quantity prefill =
      (prompts * prompt * 2 * s.L * s.layer_matrices / m.tensor / machine.matrix_rate).as("s_prefill");
  Phase phase{.title = concat(what, of_model(model))};
  phase.lasting_bytes = 0;
  const Quantity cached = (running * cache * (prompt + longest_response)).as("m_cache");
  const Quantity adapters = m.trained_layers * m.layer_adapters;
  const Quantity merged_local = m.has_adapters() ? m.local - adapters : 1 * m.local;
  const Quantity weights = (m.compute_bytes * merged_local).as("m_weights");
  const Quantity logits = (running * s.V * kFloatBytes).as("m_logits");
  phase.bytes = (weights + cached + logits).as("m_generation");
  phase.figures = grid_figures(machine, layout);
  append(phase.figures, m.held_figures());
  append(phase.figures, {{"prompts", all_prompts},
                         {"responses to each", samples},
                         {"tokens of a prompt", prompt},
                         {"tokens of a response", response},
                         {"tokens of the longest response", longest_response},
                         {"prompts at once", at_once},
                         {"prompts of a replica", prompts},
                         {"sequences that run at once", running},
                         {"tokens one after the other: the longest response, or all in turn", tokens},
                         {"weights that a token reads", decoded},
                         {"weights for generation, in the compute type", weights, "B"},
                         {"keys and values of a token", cache, "B"},
                         {"the cache, for the longest", cached, "B"},
                         {"logits", logits, "B"},
                         {"memory of generation", phase.bytes, "B"},
                         {"a token of all sequences: read", read, "B"},
                         {"  seconds", memory_seconds, "s"},
                         {"a token of all sequences: arithmetic", compute, "s"}});
  const Quantity tensor =
      add_traffic_figures(decode_traffic(m, layout, running), "tensor", machine, layout, phase.figures);
  const Quantity gathering =
      add_traffic_figures(weights_for_generation_traffic(m, layout), "weights", machine, layout, phase.figures);
  const Quantity merging = merging_seconds(m, machine).as("s_merge");
  phase.seconds = (tokens * (max(memory_seconds, compute) + tensor) + prefill + gathering + merging).as("s_generate");
  append(phase.figures, {{"a token: tensor axis", tensor, "s"},
                         {"prompts", prefill, "s"},
                         {"weights into the layout of generation", gathering, "s"},
                         {"adapters into the weights", merging, "s"},
                         {"the phase", phase.seconds, "s"}});
  const double w = tokens.value();
  const bool reads = memory_seconds.value() >= compute.value();
  phase.bound = largest({{"memory", reads ? w * memory_seconds.value() : 0},
                         {"arithmetic", (reads ? 0 : w * compute.value()) + prefill.value()},
                         {"tensor axis", w * tensor.value()},
                         {"weights' way", gathering.value() + merging.value()}});
  return phase;
}

}  // namespace rluf
