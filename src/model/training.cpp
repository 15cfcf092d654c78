#include "rluf/model/training.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/parallel/stop_signal.hpp"

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

/// Adds up the gradients of all ranks, in one buffer so that one collective does it.
void sum_gradients(const Llama& model, const Communicator& data) {
  if (data.size() == 1) return;
  std::vector<at::Tensor> gradients;
  for (const auto& [name, tensor] : model.parameters()) {
    if (!tensor.requires_grad()) continue;
    if (!tensor.grad().defined()) tensor.mutable_grad() = torch::zeros_like(tensor);
    gradients.push_back(tensor.grad().reshape(-1));
  }
  at::Tensor flat = torch::cat(gradients);
  data.all_reduce(flat);
  std::int64_t first = 0;
  for (auto& gradient : gradients) {
    gradient.copy_(flat.narrow(0, first, gradient.numel()));
    first += gradient.numel();
  }
}

CheckpointState training_state(const Llama& model, const AdamW& optimizer, const TrainPlan& plan, std::int64_t step) {
  CheckpointState state;
  state.stage = plan.stage;
  state.step = step;
  state.values = {{"identity", plan.identity}, {"optimizer_steps", optimizer.steps_taken()}};
  state.tensors = optimizer.state();
  for (const auto& [name, tensor] : model.parameters())
    if (tensor.requires_grad()) state.tensors.emplace_back("weights/" + name, tensor.detach());
  return state;
}

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
  const std::set<std::string> free{"checkpoint_every_steps", "log_every_steps", "micro_batch_tokens"};
  for (const auto& entry : table.entries())
    if (!free.contains(entry.key)) identity[entry.key] = OptionTable::value_text(entry);
  return identity;
}

std::string text_of(double value) { return std::isnan(value) ? "not a number" : concat(value); }

/// @return the step to continue with
std::int64_t restore(Llama& model, AdamW& optimizer, const TrainPlan& plan, const CheckpointState& state) {
  const std::string changes = text_of_differences(state.values.at("identity"), plan.identity);
  if (!changes.empty())
    fail_data(concat("the checkpoint of stage ", plan.stage, " at step ", state.step,
                     " was made with other options or data: ", changes),
              "continuing would mix two runs",
              "restore the old options, use another run.directory, or remove the stage's checkpoints");
  optimizer.load(state);
  load_weights(model, state);
  return state.step;
}

}  // namespace

void load_weights(Llama& model, const CheckpointState& state) {
  torch::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> tensors(state.tensors.begin(), state.tensors.end());
  for (const auto& [name, tensor] : model.parameters()) {
    if (!tensor.requires_grad()) continue;
    const auto found = tensors.find("weights/" + name);
    if (found == tensors.end() || found->second.sizes() != tensor.sizes())
      fail_data(concat("the checkpoint of stage ", state.stage, " lacks the weights ", name),
                "it belongs to another model", "restore the old options or use another run.directory");
    at::Tensor(tensor).copy_(found->second);
  }
}

void TrainOptions::describe(OptionTable& table) {
  table.add("learning_rate", &learning_rate, {.text = "peak of the schedule", .low = 0, .high = 1});
  table.add("min_learning_rate_ratio", &min_learning_rate_ratio,
            {.text = "end of the cosine, as a share of the peak", .low = 0, .high = 1});
  table.add("warmup_steps", &warmup_steps, {.text = "linear warm-up", .unit = "steps", .low = 0});
  table.add("weight_decay", &weight_decay, {.text = "decoupled decay of the matrices", .low = 0, .high = 1});
  table.add("beta1", &beta1, {.text = "AdamW's first moment", .low = 0, .high = 0.99999});
  table.add("beta2", &beta2, {.text = "AdamW's second moment", .low = 0, .high = 0.999999});
  table.add("epsilon", &epsilon, {.text = "AdamW's guard against division by zero", .low = 1e-16, .high = 1});
  table.add("clip_norm", &clip_norm, {.text = "largest gradient norm; 0: no clipping", .low = 0});
  table.add("global_batch", &global_batch,
            {.text = "examples of one optimizer step, all ranks together", .unit = "examples", .low = 1});
  table.add("micro_batch_tokens", &micro_batch_tokens,
            {.text = "packed tokens of one forward pass of one rank", .unit = "tokens", .low = 1});
  table.add("epochs", &epochs, {.text = "passes over the data", .low = 0, .high = 1e6});
  table.add("max_steps", &max_steps,
            {.text = "cap on the optimizer steps; 0: as many as the epochs give", .unit = "steps", .low = 0});
  table.add("trainable_layers", &trainable_layers,
            {.text = "-1: all; k: the last k layers and the heads; 0: heads only", .unit = "layers", .low = -1});
  table.add("checkpoint_every_steps", &checkpoint_every_steps,
            {.text = "0: only at the end of the stage", .unit = "steps", .low = 0});
  table.add("log_every_steps", &log_every_steps, {.text = "rows of metrics.csv", .unit = "steps", .low = 1});
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
  const std::int64_t weights = weight_bytes(config);
  const std::int64_t layers =
      options.trainable_layers < 0 ? config.num_layers : std::min(options.trainable_layers, config.num_layers);
  LlamaConfig trained = config;
  trained.num_layers = layers;
  trained.vocab_size = options.trainable_layers < 0 ? config.vocab_size : 0;
  // Gradients and two moments; several ranks add the gradients up in one more buffer.
  const std::int64_t copies = num_ranks > 1 ? 4 : 3;
  const std::int64_t logits = 3 * std::min(options.micro_batch_tokens * config.vocab_size, std::int64_t{16} << 20);
  return weights + copies * weight_bytes(trained) +
         4 * (layers * activations_per_token(config) * options.micro_batch_tokens + logits);
}

std::int64_t inference_memory_bytes(const LlamaConfig& config, std::int64_t micro_batch_tokens) {
  return 2 * weight_bytes(config) + 4 * activations_per_token(config) * micro_batch_tokens;
}

StepResult train_step(Llama& model, AdamW& optimizer, const std::vector<std::vector<std::int64_t>>& micro_batches,
                      double divisor, double learning_rate, const LossFunction& loss, const Communicator& data) {
  optimizer.zero_grad();
  std::map<std::string, double> sums;
  double loss_sum = 0;
  guarded(data, [&] {
    for (std::size_t m = static_cast<std::size_t>(data.rank()); m < micro_batches.size();
         m += static_cast<std::size_t>(data.size())) {
      const MicroLoss micro = loss(model, micro_batches[m]);
      (micro.loss_sum / divisor).backward();
      loss_sum += micro.loss_sum.item<double>();
      for (const auto& [name, value] : micro.metric_sums) sums[name] += value;
    }
  });
  sum_gradients(model, data);

  // A rank without a micro-batch does not know the names of the metrics: agree on them first.
  std::string names;
  for (const auto& [name, value] : sums) names += name + "\n";
  std::map<std::string, double> metrics;
  for (const std::string& list : data.all_gather(names))
    for (std::size_t first = 0; first < list.size();) {
      const std::size_t last = list.find('\n', first);
      metrics.emplace(list.substr(first, last - first), 0.0);
      first = last + 1;
    }
  std::vector<double> values{loss_sum};
  for (const auto& [name, zero] : metrics) values.push_back(sums.contains(name) ? sums[name] : 0.0);
  data.all_reduce(values);

  StepResult result;
  result.loss = values[0] / divisor;
  std::size_t next = 1;
  for (auto& [name, value] : metrics) value = values[next++] / divisor;
  result.metrics = std::move(metrics);
  if (!std::isfinite(result.loss))
    fail_data(concat("the loss is ", text_of(result.loss)), "a step would spoil every weight; it was not applied",
              "lower the learning rate, or look at the batch's examples");
  result.grad_norm = optimizer.step(learning_rate);
  if (!std::isfinite(result.grad_norm))
    fail_data(concat("the gradient norm is ", text_of(result.grad_norm)),
              "a step would spoil every weight; it was not applied",
              "lower the learning rate, or look at the batch's examples");
  optimizer.zero_grad();
  return result;
}

std::map<std::string, double> train(Llama& model, const TrainPlan& given, const TrainOptions& options,
                                    const LossFunction& loss, const Communicator& data, const RunDirectory& directory) {
  TrainPlan plan = given;
  plan.identity = whole_identity(given, options);
  const auto num_examples = static_cast<std::int64_t>(plan.num_tokens.size());
  if (num_examples == 0)
    fail_data(concat("stage ", plan.stage, " has no examples"), "nothing can be learned",
              "check the data stage's table");
  model.set_trainable_layers(options.trainable_layers);
  AdamW optimizer(model, options);
  const auto total = static_cast<std::int64_t>(std::ceil(options.epochs * static_cast<double>(num_examples)));
  std::int64_t num_steps = (total + options.global_batch - 1) / options.global_batch;
  if (options.max_steps > 0) num_steps = std::min(num_steps, options.max_steps);

  const std::string folder = directory.checkpoints(plan.stage);
  std::int64_t step = 0;
  if (const auto checkpoint = read_newest_checkpoint(folder, data)) {
    guarded(data, [&] { step = restore(model, optimizer, plan, *checkpoint); });
    log_info(concat(plan.stage, ": continuing from the checkpoint at step ", step));
  }
  directory.cut_metrics(plan.stage, step);
  log_info(concat(plan.stage, ": ", num_examples, " examples, ", num_steps, " steps of ", options.global_batch));

  ExampleOrder order(num_examples, plan.seed);
  Progress progress(plan.stage, "steps", num_steps, step);
  std::map<std::string, double> sums, last_averages;
  std::int64_t sum_steps = 0, saved_step = step;
  double since_seconds = now_seconds(), tokens = 0;
  const auto save = [&] {
    if (saved_step == step) return;
    write_checkpoint(folder, training_state(model, optimizer, plan, step), data);
    saved_step = step;
  };
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
        train_step(model, optimizer, micro_batches, static_cast<double>(last - first), rate, loss, data);
    ++step;

    sums["loss"] += result.loss;
    sums["grad_norm"] += result.grad_norm;
    for (const auto& [name, value] : result.metrics) sums[name] += value;
    ++sum_steps;
    if (step % options.log_every_steps == 0 || step == num_steps) {
      last_averages.clear();
      for (const auto& [name, value] : sums) last_averages[name] = value / static_cast<double>(sum_steps);
      last_averages["learning_rate"] = rate;
      last_averages["tokens_per_second"] = tokens / std::max(1e-9, now_seconds() - since_seconds);
      directory.append_metrics(plan.stage, step, last_averages);
      sums.clear();
      sum_steps = 0;
      tokens = 0;
      since_seconds = now_seconds();
    }
    char loss_text[32];
    std::snprintf(loss_text, sizeof loss_text, "loss %.4f", result.loss);
    progress.update(step, loss_text);
    if (stop_requested(data)) {
      save();
      throw Error(ExitCode::kStopped, concat("stopped by a signal in stage ", plan.stage, " at step ", step,
                                             " (a checkpoint was written): run the same command again to continue"));
    }
    if (options.checkpoint_every_steps > 0 && step % options.checkpoint_every_steps == 0) save();
  }
  save();
  model.set_trainable_layers(-1);
  return last_averages;
}

}  // namespace rluf
