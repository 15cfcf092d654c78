#pragma once
/// The policy stage: CRRAFT or another optimizer from the reference, once for each love weight.
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/model/generation.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/alarms/alarms.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/judges/judges.hpp"
#include "rluf/pipeline/policy/crraft.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct PolicyOptions {
  std::string optimizer = "crraft";
  std::string weights_apply_to = "reward";             ///< or gradients
  std::vector<double> love_weights = {0.0, 0.1, 0.3};  ///< one policy each
  double helpfulness_weight = 0.7, safety_weight = 0.3;
  bool normalize_weights = false;
  std::string base = "";  ///< starting policy; empty: models/reference, else model.base
  std::int64_t rounds = 40, prompts_per_round = 16, num_samples = 4, steps_per_round = 1;
  std::int64_t warm_up_steps = 0, warm_up_batch = 32;  ///< of offline DPO before the rounds
  double warm_up_learning_rate = 5e-7;
  std::int64_t max_new_tokens = 128;
  BatchingOptions batching;
  SamplingOptions sampling;
  std::string baseline = "reference";  ///< or preferred
  double baseline_weight = 0.5;
  bool baseline_kl_check = false;
  double kl_max = 10.0;
  double dpo_beta = 0.1, codpo_lambda = 1.0, clip_range = 0.2, kl_penalty = 0.04;
  std::string weighting = "calibrated", normalize = "batch", length_norm = "none";
  std::string closing_phrases = "bye, goodbye, good bye, farewell, sending love, sending you love, take care, see you";
  std::string task_settings = "", task_words = "";  ///< task_settings.hpp
  JudgeOptions judges;
  std::vector<std::string> witnesses = {};  ///< folders of reward models that score and choose nothing
  TrainOptions train{.learning_rate = 2e-6, .warmup_steps = 2, .checkpoint_every_steps = 10};

  void describe(OptionTable& table);
  /// @throws Error(kBadInput) for options that contradict each other
  void check() const;
  CrraftRules rules() const;
  /// How responses are drawn, but for seed, round and stop tokens.
  GenerationOptions generation() const;
  Divisor divisor() const { return normalize == "kept" ? Divisor::kKept : Divisor::kBatch; }
  LengthNorm length_normalization() const { return length_norm == "tokens" ? LengthNorm::kTokens : LengthNorm::kNone; }
};

/// 0.1 -> "policy_w0.1", 0 -> "policy_w0.0": name of the model folder, the checkpoints and the metrics.
std::string policy_name(double love_weight);

/// Makes models/policy_wX.Y for every love weight, data/baseline.jsonl.gz and tables/policy.json. The baseline
/// responses are made once and serve all weights, as does models/warm_up where policy.warm_up_steps is above 0, which
/// then is the reference of the rounds. Continues inside a weight from its newest checkpoint. A love model is
/// needed only for weights above 0. @collective
/// @throws Error(kBadInput) if a reward model is missing, Error(kStopped) after a stop signal, Error(kAlarm) after an
/// alarm that is to stop the stage
void run_policy(const PolicyOptions& options, const AlarmOptions& alarms, const DataOptions& data,
                const StageContext& context);
/// Of one rank: the reference, the reward models and the cache of generation. @unit bytes
std::int64_t generation_memory_bytes(const PolicyOptions& options, const DataOptions& data,
                                     const StageContext& context);
/// The same with the policy in training.
std::int64_t policy_memory_bytes(const PolicyOptions& options, const DataOptions& data, const StageContext& context);

}  // namespace rluf
