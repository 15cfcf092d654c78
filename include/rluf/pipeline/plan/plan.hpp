#pragma once
/// The plan of a run: what each stage needs and how long it takes, on one layout or on the fastest that fits.
#include <string>
#include <vector>

#include "rluf/pipeline/plan/phases.hpp"
#include "rluf/pipeline/plan/plan_options.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/sft/sft.hpp"
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

/// Where the reference and the reward models are in the policy stage.
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
  std::vector<PlannedModel> judges;  ///< the reference, then the reward models
  PolicyOptions policy;
  ValidationOptions validate;
  std::vector<std::string> left_out;  ///< stages without examples, and why

  std::vector<PlannedModel> models() const;
};

/// The options of a run that a plan looks at.
struct RunOptionsOfPlan {
  const PlanOptions& plan;
  const RunOptions& run;
  const ModelOptions& model;
  const DataOptions& data;
  const SftOptions& sft;
  const RewardOptions& reward;
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
};

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
/// Ranks of their own that the judges of the policy stage take: a node for each. 0: there are not enough.
std::int64_t group_ranks(const PlanInput& input);

}  // namespace rluf
