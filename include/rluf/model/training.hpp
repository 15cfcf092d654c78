#pragma once
/// The training loop that every stage shares: order, packing, accumulation over ranks, AdamW, schedule, checkpoints.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/io/run_directory.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Options of one training stage; every stage has its own section with these members.
struct TrainOptions {
  double learning_rate = 1e-5, min_learning_rate_ratio = 0.1;
  double head_learning_rate = 0;  ///< peak for score heads, which start from nothing; 0: learning_rate
  std::int64_t warmup_steps = 10;
  double weight_decay = 0.0, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, clip_norm = 1.0;
  double explosion_norm = 0;               ///< a larger gradient norm is a bad step; 0: only one that is not finite
  std::int64_t skip_bad_steps = 0;         ///< so many are passed over; one more ends the stage
  std::int64_t global_batch = 64;          ///< examples an optimizer step, all ranks together
  std::int64_t micro_batch_tokens = 2048;  ///< tokens of one forward pass of one rank
  double epochs = 1.0;
  std::int64_t max_steps = 0;  ///< 0: as many as the epochs give
  std::int64_t trainable_layers = -1;
  std::int64_t lora_rank = 0;  ///< 0: the weights themselves are trained
  double lora_alpha = 16;
  std::int64_t checkpoint_every_steps = 100;
  std::int64_t log_every_steps = 10;
  bool reproducible = true;                   ///< run.reproducible; not of a section of its own
  void describe(OptionTable& table);          ///< adds to the current section
  void describe_trained(OptionTable& table);  ///< of these only what is trained: layers and adapters
};

/// Lets gradients flow where the options say, through adapters made from `seed` if they ask for them.
void make_trainable(Llama& model, const TrainOptions& options, std::uint64_t seed);
/// `config` with the adapters that the options ask for.
LlamaConfig trained_config(LlamaConfig config, const TrainOptions& options);

/// Warm-up then cosine to the minimum ratio. @unit step counts from 0
double learning_rate_at(const TrainOptions& options, std::int64_t step, std::int64_t num_steps);

/// AdamW on the trainable parameters, with decoupled weight decay (matrices only). Weights and moments in float32; the
/// moments are divided over all ranks with other examples (ZeRO-1): a rank updates its rows of each tensor (see
/// update_share), then those ranks exchange their rows. With layout.optimizer_on_host moments and master weights stand
/// in the host's memory, where the step runs: gradients come down and new weights go up.
class AdamW {
 public:
  /// `comm`: all ranks that work on the model.
  AdamW(const Llama& model, const TrainOptions& options, const Communicator& comm);
  /// Clips by the global norm of the gradients, then steps. `gradients`: from GradientSum::reduce(). @collective
  /// @return gradient norm before clipping; nothing is changed if it is not finite or above explosion_norm
  double step(const std::vector<at::Tensor>& gradients, double learning_rate);
  /// `action` is called in every step before the first change, as whoever copies the described state needs it.
  void before_change(std::function<void()> action) { before_change_ = std::move(action); }
  void describe(StateArchive& archive);
  const TrainOptions& options() const { return options_; }

 private:
  struct Trained {
    std::string name;
    at::Tensor weight;
    Placement placement;
    UpdateShare share;
    at::Tensor kept_rows(Range rows) const;  ///< `rows` of placement.local
  };
  struct State {
    std::vector<at::Tensor> first, second;  ///< moments, this rank's rows of each parameter
    std::int64_t steps_taken = 0;
  };
  bool is_on_host() const;
  TrainOptions options_;
  Communicator comm_;
  LayoutPointer layout_;
  std::vector<Trained> trained_;
  State state_;
  std::vector<at::Tensor> masters_;  ///< on the host, this rank's rows; undefined until a step copies the weights
  std::function<void()> before_change_ = [] {};
};

/// Loss of one micro-batch, as a SUM over its examples; `train` divides by global_batch.
/// `metrics` are sums too and leave averaged over the step's examples.
struct MicroLoss {
  at::Tensor loss_sum;
  std::map<std::string, double> metric_sums;
};
using LossFunction = std::function<MicroLoss(const Llama&, const std::vector<std::int64_t>& examples)>;

struct TrainPlan {
  std::string stage;                     ///< name of checkpoints, metrics and messages
  std::vector<std::int64_t> num_tokens;  ///< of each example, equal on all ranks
  std::uint64_t seed = 0;
  nlohmann::json identity;  ///< what a checkpoint must have been made with to continue from it, besides TrainOptions
};

/// Trains in place; continues from the newest checkpoint of the stage if there is one. @collective over `comm`, all
/// ranks that work on the model. Data order, packing and step content do not depend on the number of ranks: micro-batch
/// m goes to replica m mod their number.
/// @throws Error(kBadData) after too many bad steps, Error(kStopped) after a request to stop
/// @return averages over the last logged steps
std::map<std::string, double> train(Llama& model, const TrainPlan& plan, const TrainOptions& options,
                                    const LossFunction& loss, const Communicator& comm, const RunDirectory& directory);

/// Memory of one rank at the peak of training: weights, gradients, moments, what ranks exchange, activations of a
/// micro-batch. A stage states its estimate with these before it starts. @unit bytes
std::int64_t training_memory_bytes(const LlamaConfig& config, const TrainOptions& options, int num_ranks);
/// The same without gradients: weights (and the file that they come from) and one layer's activations.
std::int64_t inference_memory_bytes(const LlamaConfig& config, std::int64_t micro_batch_tokens);
/// Weights alone, in float32.
std::int64_t weight_bytes(const LlamaConfig& config);

/// The trainable parameters as "weights/NAME".
void describe_weights(const Llama& model, StateArchive& archive);

/// One accumulation and optimizer step over given micro-batches (the policy round uses it alone). @collective
/// `micro_batches`: example indices, the same list on all ranks; `divisor`: what loss sums are divided by.
struct StepResult {
  double loss = 0, grad_norm = 0;
  std::string complaint;  ///< why the step was not applied; empty: it was
  std::map<std::string, double> metrics;
};
StepResult train_step(Llama& model, AdamW& optimizer, const std::vector<std::vector<std::int64_t>>& micro_batches,
                      double divisor, double learning_rate, const LossFunction& loss, const Communicator& comm);

}  // namespace rluf
