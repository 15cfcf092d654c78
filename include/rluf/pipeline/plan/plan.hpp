#pragma once
/// The plan of a run: what each stage needs and how long it takes, on one layout or on the fastest that fits.
#include <map>
#include <string>
#include <vector>

#include "rluf/pipeline/evaluation/evaluate.hpp"
#include "rluf/pipeline/plan/phases.hpp"
#include "rluf/pipeline/plan/plan_options.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/sft/sft.hpp"
#include "rluf/pipeline/signals/signal_options.hpp"
#include "rluf/pipeline/validation/validate.hpp"

namespace rluf {

/// A stage that trains on a data set.
struct PlannedTraining {
  PlannedModel model;
  TrainOptions options;
  StepExamples step;
  double examples = 0;
  bool preference = false;  ///< DPO: its pairs pass through a reference of the same shape too
};

/// A model that responses pass through besides the policy in training.
struct PlannedScorer {
  enum class Use { kReference, kReward, kWitness, kJudge };
  PlannedModel model;
  Use use = Use::kReward;
  double more_tokens = 0;  ///< of a document, beside prompt and response
  double rows_each = 0;    ///< log-probabilities of a document
  double passes = 1;       ///< through each document, of judges that share a model
};

/// What a round draws and trains on. Where tasks have their own N without prompts of their own, every prompt counts as
/// one of the task with the largest.
struct RoundWork {
  std::map<std::int64_t, double> prompts;  ///< by N
  double responses = 0;
  double terms = 0;       ///< of an optimizer step
  bool is_bound = false;  ///< what tasks do not say was taken at its largest
};
RoundWork round_work(const PolicyOptions& policy);

/// Where the models that score are in the policy stage.
enum class JudgePlacement { kSharded, kHost, kGroups };
const char* name_of(JudgePlacement placement);
JudgePlacement placement_named(const std::string& name);  ///< "auto" is sharded

struct PlanInput {
  PlanOptions options;
  Machine machine;
  double compute_bytes = 4;
  bool reproducible = true;
  PlanLayout given;  ///< of [parallel], for search = false
  std::vector<PlannedTraining> trainings;
  bool has_policy = false, has_validate = false;
  PlannedModel policy_model;
  std::vector<PlannedScorer> scorers;  ///< the reference first
  PolicyOptions policy;
  ValidationOptions validate;
  double log_rows = 0;    ///< of the signals stage; 0: it is not planned
  double audit_rows = 0;  ///< of the evaluate stage; 0: it is not planned
  std::int64_t audit_micro_batch_tokens = 0;
  std::vector<PlannedModel> audited;  ///< love, and the others that are there
  std::vector<std::string> left_out;  ///< stages without examples, and why
  std::vector<std::string> assumed;   ///< what the options do not say

  /// The policy with its adapters, if it has some.
  PlannedModel trained_policy() const;

  std::vector<PlannedModel> models() const;
};

/// The options of a run that a plan looks at.
struct RunOptionsOfPlan {
  const PlanOptions& plan;
  const RunOptions& run;
  const ModelOptions& model;
  const DataOptions& data;
  const SignalOptions& signals;
  const SftOptions& sft;
  const RewardOptions& reward;
  const EvaluationOptions& evaluate;
  const PolicyOptions& policy;
  const ValidationOptions& validate;
  const ParallelOptions& parallel;
};
/// Reads config.json of the models that are there. @throws Error(kBadInput) for an unknown shape or stage
PlanInput plan_input(const RunOptionsOfPlan& run);

struct StagePlan {
  std::string name, shape;
  std::vector<Phase> phases;
  std::vector<Figure> figures;  ///< of the stage as a whole
  Quantity peak_bytes;          ///< of a rank, without program and spare
  Quantity steps, step_seconds, seconds;
  Quantity checkpoint_bytes, checkpoint_seconds;
  double tokens_per_second = 0;  ///< of a rank: trained, or generated
  double mfu = 0;                ///< of the training steps
  double idle_share = 0;         ///< of the ranks' time in the stage
  std::string bound;
};

struct RunPlan {
  PlanLayout layout;
  JudgePlacement placement = JudgePlacement::kSharded;
  std::vector<StagePlan> stages;
  double seconds = 0, peak_bytes = 0, limit_bytes = 0;
  bool fits() const { return peak_bytes <= limit_bytes; }
  /// Null where it is not planned.
  const StagePlan* stage(const std::string& name) const;
};

/// The log is read and counted on the hosts.
StagePlan plan_signals(const PlanInput& input, const PlanLayout& layout);
/// The audit: each model scores the same rows in turn.
StagePlan plan_evaluate(const PlanInput& input, const PlanLayout& layout);
StagePlan plan_training(const PlannedTraining& training, const PlanInput& input, const PlanLayout& layout);
/// @throws Error(kBadInput) for a placement on groups where the nodes do not suffice
StagePlan plan_policy(const PlanInput& input, const PlanLayout& layout, JudgePlacement placement);
StagePlan plan_validate(const PlanInput& input, const PlanLayout& layout);
RunPlan plan_run(const PlanInput& input, const PlanLayout& layout, JudgePlacement placement);

/// All layouts and placements: those that fit first, the fastest before the others; of those that do not, the smallest.
std::vector<RunPlan> search_plans(const PlanInput& input);
/// Another micro_batch_tokens with which a stage of the chosen plan would be at least 2 % faster and still fit.
struct BetterMicroBatch {
  std::string stage;
  std::int64_t tokens = 0;
  double seconds = 0;
};
std::vector<BetterMicroBatch> better_micro_batches(const PlanInput& input, const RunPlan& chosen);
/// Ranks of their own that the models that score in the policy stage take: a node for each. 0: there are not enough.
std::int64_t group_ranks(const PlanInput& input);

}  // namespace rluf
