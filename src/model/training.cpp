#include "rluf/model/training.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <set>

#include "gradient_sum.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/io/loop_checkpoints.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/bad_steps.hpp"

namespace rluf {
namespace {

/// The examples of one step: positions [step * batch, ...) of the shuffled epochs laid end to end.
class ExampleOrder {
 public:
  ExampleOrder(std::int64_t num_examples, std::uint64_t seed) : num_examples_(num_examples), seed_(seed) {}
  std::int64_t at(std::int64_t position) {
    const std::int64_t epoch = position / num_examples_;
    if (epoch != epoch_) {
      order_ = shuffled_order(num_examples_, seed_, static_cast<std::uint64_t>(epoch));
      epoch_ = epoch;
    }
    return order_[static_cast<std::size_t>(position % num_examples_)];
  }

 private:
  std::int64_t num_examples_, epoch_ = -1;
  std::uint64_t seed_;
  std::vector<std::int64_t> order_;
};

/// Metrics of the steps since the last row of metrics.csv. Part of a checkpoint, so that a restart changes no row.
struct MetricWindow {
  std::map<std::string, double> sums, last_averages;
  std::int64_t num_steps = 0;

  void add(const StepResult& step) {
    sums["loss"] += step.loss;
    sums["grad_norm"] += step.grad_norm;
    for (const auto& [name, value] : step.metrics) sums[name] += value;
    ++num_steps;
  }
  const std::map<std::string, double>& close() {
    if (num_steps == 0) return last_averages;  // all were bad
    last_averages.clear();
    for (const auto& [name, value] : sums) last_averages[name] = value / static_cast<double>(num_steps);
    sums.clear();
    num_steps = 0;
    return last_averages;
  }
  void describe(StateArchive& archive) {
    auto& [open, closed, steps] = *this;  // a new member does not compile until it is described
    nlohmann::json open_json = open, closed_json = closed;
    archive.json("metrics_since_last_row", open_json);
    archive.json("metrics_of_last_row", closed_json);
    archive.number("steps_since_last_row", steps);
    open = open_json.get<std::map<std::string, double>>();
    closed = closed_json.get<std::map<std::string, double>>();
  }
};

/// The plan's identity with everything else that the result depends on: seed, lengths of the examples, options.
nlohmann::json whole_identity(const TrainPlan& plan, TrainOptions options) {
  nlohmann::json identity = plan.identity;
  identity["seed"] = plan.seed;
  std::uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const std::int64_t length : plan.num_tokens)
    hash = (hash ^ static_cast<std::uint64_t>(length)) * 1099511628211ull;
  identity["lengths_hash"] = hash;
  OptionTable table;
  table.section(plan.stage, "");
  options.describe(table);
  const std::set<std::string> free{"checkpoint_every_steps", "log_every_steps", "micro_batch_tokens", "skip_bad_steps"};
  for (const auto& entry : table.entries())
    if (!free.contains(entry.key)) identity[entry.key] = OptionTable::value_text(entry);
  return identity;
}

std::string text_of(double value) { return std::isnan(value) ? "not a number" : concat(value); }

}  // namespace

void describe_weights(const Llama& model, StateArchive& archive) {
  torch::NoGradGuard no_grad;
  const LayoutPointer& layout = model.layout();
  for (std::size_t i = 0; i < model.parameters().size(); ++i) {
    const auto& [name, tensor] = model.parameters()[i];
    if (!tensor.requires_grad()) continue;
    at::Tensor weight = tensor.detach();
    if (!layout) {
      archive.tensor("weights/" + name, weight);
      continue;
    }
    // Ranks that hold the same rows divide the writing.
    const Communicator& twins = twins_of(*layout);
    const Placement& placement = model.placements()[i];
    const Range share = shard_range(placement.kept.count(), twins.size(), twins.rank());
    describe_part(archive, "weights/" + name, weight, placement.kept,
                  {placement.kept.first + share.first, placement.kept.first + share.last}, placement, layout);
  }
}

void TrainOptions::describe(OptionTable& table) {
  table.add("learning_rate", &learning_rate, {.text = "peak of the schedule", .low = 0, .high = 1});
  table.add("head_learning_rate", &head_learning_rate,
            {.text = "peak for score heads, which start from nothing where the layers are trained; 0: learning_rate",
             .low = 0,
             .high = 1});
  table.add("min_learning_rate_ratio", &min_learning_rate_ratio,
            {.text = "end of the cosine, as a share of the peak", .low = 0, .high = 1});
  table.add("warmup_steps", &warmup_steps, {.text = "linear warm-up", .unit = "steps", .low = 0});
  table.add("weight_decay", &weight_decay, {.text = "decoupled decay of the matrices", .low = 0, .high = 1});
  table.add("beta1", &beta1, {.text = "AdamW's first moment", .low = 0, .high = 0.99999});
  table.add("beta2", &beta2, {.text = "AdamW's second moment", .low = 0, .high = 0.999999});
  table.add("epsilon", &epsilon, {.text = "AdamW's guard against division by zero", .low = 1e-16, .high = 1});
  table.add("clip_norm", &clip_norm, {.text = "largest gradient norm; 0: no clipping", .low = 0});
  table.add("explosion_norm", &explosion_norm,
            {.text = "a step whose gradient norm is larger is not applied; 0: only one that is not finite", .low = 0});
  table.add("skip_bad_steps", &skip_bad_steps,
            {.text = "steps with an exploded or not finite gradient or loss that are passed over, each written to "
                     "tables/; one more ends the stage with a checkpoint",
             .unit = "steps",
             .low = 0});
  table.add("global_batch", &global_batch,
            {.text = "examples of one optimizer step, all ranks together", .unit = "examples", .low = 1});
  table.add("micro_batch_tokens", &micro_batch_tokens,
            {.text = "packed tokens of one forward pass of one rank", .unit = "tokens", .low = 1});
  table.add("epochs", &epochs, {.text = "passes over the data", .low = 0, .high = 1e6});
  table.add("max_steps", &max_steps,
            {.text = "cap on the optimizer steps; 0: as many as the epochs give", .unit = "steps", .low = 0});
  describe_trained(table);
  table.add("checkpoint_every_steps", &checkpoint_every_steps,
            {.text = "0: only at the end of the stage", .unit = "steps", .low = 0});
  table.add("log_every_steps", &log_every_steps, {.text = "rows of metrics.csv", .unit = "steps", .low = 1});
}

void TrainOptions::describe_trained(OptionTable& table) {
  table.add("trainable_layers", &trainable_layers,
            {.text = "-1: all; k: the last k layers and the heads; 0: heads only", .unit = "layers", .low = -1});
  table.add(
      "lora_rank", &lora_rank,
      {.text = "rank of adapters beside the matrices of these layers; with them only they and score heads are "
               "trained. Model folders hold them merged, and alone in adapter/ as PEFT reads them; 0: no adapters",
       .low = 0,
       .high = 4096});
  table.add("lora_alpha", &lora_alpha, {.text = "adapters count alpha / rank times", .low = 0});
}

LlamaConfig trained_config(LlamaConfig config, const TrainOptions& options) {
  if (options.lora_rank == 0) return config;
  const std::int64_t layers = options.trainable_layers < 0 ? config.num_layers : options.trainable_layers;
  RLUF_ASSERT(layers > 0);
  config.lora = {options.lora_rank, options.lora_alpha, std::max<std::int64_t>(0, config.num_layers - layers)};
  return config;
}

void make_trainable(Llama& model, const TrainOptions& options, std::uint64_t seed) {
  if (const LoraConfig lora = trained_config(model.config(), options).lora; lora.rank > 0)
    model.add_adapters(lora, seed);
  model.set_trainable_layers(options.trainable_layers);
}

std::int64_t weight_bytes(const LlamaConfig& config) {
  std::int64_t bytes = 0;
  for (const auto& [name, shape] : parameter_shapes(config))
    bytes += std::accumulate(shape.begin(), shape.end(), std::int64_t{4}, std::multiplies<>());
  return bytes;
}

namespace {
/// Elements that one layer holds for a token: two norms' inputs and outputs, q, k, v, attention out, three of F.
std::int64_t activations_per_token(const LlamaConfig& config) {
  return 6 * config.hidden_size + 4 * (config.num_heads + config.num_kv_heads) * config.head_dim +
         4 * config.intermediate_size;
}
}  // namespace

std::int64_t training_memory_bytes(const LlamaConfig& config, const TrainOptions& options, int num_ranks) {
  const LlamaConfig all = trained_config(config, options);
  const std::int64_t layers =
      options.trainable_layers < 0 ? config.num_layers : std::min(options.trainable_layers, config.num_layers);
  std::int64_t trained = 0;
  for (const auto& [name, shape] : parameter_shapes(all))
    if (is_trained(name, all, options.trainable_layers)) trained += 4 * c10::multiply_integers(shape);
  // Gradients, their sum (in 64 bits, or a second buffer for several ranks), a share of the two moments, and the copy
  // of this rank's share of weights and moments while a checkpoint is written.
  const std::int64_t sum = options.reproducible ? 2 : num_ranks > 1 ? 1 : 0;
  const std::int64_t logits = 3 * std::min(options.micro_batch_tokens * config.vocab_size, std::int64_t{16} << 20);
  return weight_bytes(all) + (1 + sum) * trained + 5 * trained / num_ranks +
         4 * (layers * activations_per_token(config) * options.micro_batch_tokens + logits);
}

std::int64_t inference_memory_bytes(const LlamaConfig& config, std::int64_t micro_batch_tokens) {
  return 2 * weight_bytes(config) + 4 * activations_per_token(config) * micro_batch_tokens;
}

StepResult train_step(Llama& model, AdamW& optimizer, const std::vector<std::vector<std::int64_t>>& micro_batches,
                      double divisor, double learning_rate, const LossFunction& loss, const Communicator& comm) {
  const auto num_micro_batches = static_cast<std::int64_t>(micro_batches.size());
  const Communicator& replicas = replicas_of(model.layout(), comm);
  // Ranks that share weights or gradients go through equally many passes: one without a micro-batch of its own joins
  // with another's, which counts nothing.
  const bool in_step = model.layout() && model.layout()->divides_gradients();
  const std::int64_t rounds = (num_micro_batches + replicas.size() - 1) / replicas.size();
  GradientSum gradients(model, num_micro_batches, optimizer.options().reproducible, comm);
  std::vector<double> mine;  // loss and metrics of each of this rank's micro-batches
  std::string names;
  guarded(comm, [&] {
    for (std::int64_t round = 0; round < rounds; ++round) {
      const std::int64_t m = round * replicas.size() + replicas.rank();
      const bool counts = m < num_micro_batches;
      if (!counts && !in_step) break;
      const MicroLoss micro = loss(model, micro_batches[static_cast<std::size_t>(m % num_micro_batches)]);
      (micro.loss_sum * (counts ? 1.0 / divisor : 0.0)).backward();
      gradients.add();
      if (!counts) break;
      mine.push_back(micro.loss_sum.is_meta() ? 0.0 : micro.loss_sum.item<double>());
      names.clear();
      for (const auto& [name, value] : micro.metric_sums) {
        names += name + "\n";
        mine.push_back(value);
      }
    }
  });
  const std::vector<at::Tensor> sums_of_gradients = gradients.reduce();

  StepResult result;
  std::vector<std::string> metric_names;
  const std::string list = replicas.broadcast(names, 0);  // rank 0 has the first micro-batch
  for (std::size_t first = 0; first < list.size(); first = list.find('\n', first) + 1)
    metric_names.push_back(list.substr(first, list.find('\n', first) - first));
  // A row for each micro-batch, filled by its rank alone and added up in their order: the same bits on any number of
  // ranks.
  const std::size_t width = metric_names.size() + 1;
  std::vector<double> rows(width * micro_batches.size(), 0.0), sums(width, 0.0);
  const auto rank = static_cast<std::size_t>(replicas.rank()), size = static_cast<std::size_t>(replicas.size());
  for (std::size_t i = 0; i < mine.size(); ++i) rows.at((rank + i / width * size) * width + i % width) = mine[i];
  replicas.all_reduce(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) sums[i % width] += rows[i];
  result.loss = sums[0] / divisor;
  for (std::size_t i = 0; i < metric_names.size(); ++i) result.metrics[metric_names[i]] = sums[i + 1] / divisor;
  const double explosion = optimizer.options().explosion_norm;
  if (!std::isfinite(result.loss)) {
    result.complaint = concat("the loss is ", text_of(result.loss));
  } else {
    result.grad_norm = optimizer.step(sums_of_gradients, learning_rate);
    if (!std::isfinite(result.grad_norm) || (explosion > 0 && result.grad_norm > explosion))
      result.complaint = concat("the gradient norm is ", text_of(result.grad_norm));
  }
  return result;
}

std::map<std::string, double> train(Llama& model, const TrainPlan& given, const TrainOptions& options,
                                    const LossFunction& loss, const Communicator& comm, const RunDirectory& directory) {
  TrainPlan plan = given;
  plan.identity = whole_identity(given, options);
  const auto num_examples = static_cast<std::int64_t>(plan.num_tokens.size());
  if (num_examples == 0)
    fail_data(concat("stage ", plan.stage, " has no examples"), "nothing can be learned",
              "check the data stage's table");
  make_trainable(model, options, plan.seed);
  AdamW optimizer(model, options, comm);
  const auto total = static_cast<std::int64_t>(std::ceil(options.epochs * static_cast<double>(num_examples)));
  std::int64_t num_steps = (total + options.global_batch - 1) / options.global_batch;
  if (options.max_steps > 0) num_steps = std::min(num_steps, options.max_steps);

  BadSteps bad_steps(plan.stage, options, directory);
  MetricWindow window;
  const auto describe = [&](StateArchive& archive) {
    optimizer.describe(archive);
    describe_weights(model, archive);
    window.describe(archive);
    bad_steps.describe(archive);
  };
  LoopCheckpoints checkpoints(
      directory, {plan.stage, "step", num_steps, options.checkpoint_every_steps, plan.identity, describe}, comm);
  optimizer.before_change([&] { checkpoints.state_will_change(); });
  std::int64_t step = checkpoints.first_step();
  log_info(concat(plan.stage, ": ", num_examples, " examples, ", num_steps, " steps of ", options.global_batch));

  ExampleOrder order(num_examples, plan.seed);
  Progress progress(plan.stage, "steps", num_steps, step);
  double since_seconds = now_seconds(), tokens = 0;
  while (step < num_steps) {
    const std::int64_t first = step * options.global_batch, last = std::min(total, first + options.global_batch);
    std::vector<std::int64_t> examples, lengths;
    for (std::int64_t position = first; position < last; ++position) {
      examples.push_back(order.at(position));
      lengths.push_back(plan.num_tokens[static_cast<std::size_t>(examples.back())]);
      tokens += static_cast<double>(lengths.back());
    }
    std::vector<std::vector<std::int64_t>> micro_batches;
    for (const PackRange& range : pack_ranges(lengths, options.micro_batch_tokens))
      micro_batches.emplace_back(examples.begin() + range.first, examples.begin() + range.last);
    const double rate = learning_rate_at(options, step, num_steps);
    const StepResult result =
        train_step(model, optimizer, micro_batches, static_cast<double>(last - first), rate, loss, comm);
    if (result.complaint.empty()) {
      window.add(result);
    } else {
      bad_steps.add(step, result.complaint, examples, checkpoints);
    }
    ++step;

    if (step % options.log_every_steps == 0 || step == num_steps) {
      std::map<std::string, double> row = window.close();
      row["learning_rate"] = rate;
      row["tokens_per_second"] = tokens / std::max(1e-9, now_seconds() - since_seconds);
      directory.append_metrics(plan.stage, step, row);
      tokens = 0;
      since_seconds = now_seconds();
    }
    char loss_text[32];
    std::snprintf(loss_text, sizeof loss_text, "loss %.4f", result.loss);
    progress.update(step, loss_text);
    checkpoints.after_step(step);
  }
  checkpoints.finish(step);
  model.set_trainable_layers(-1);
  return window.last_averages;
}

}  // namespace rluf
