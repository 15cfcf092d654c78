#pragma once
/// All options of a run, one struct a section.
#include "rluf/model/model_options.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/evaluation/evaluate.hpp"
#include "rluf/pipeline/plan/plan_options.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/reward/reward.hpp"
#include "rluf/pipeline/sft/sft.hpp"
#include "rluf/pipeline/signals/signal_options.hpp"
#include "rluf/pipeline/simulation/simulate.hpp"
#include "rluf/pipeline/stage.hpp"
#include "rluf/pipeline/validation/ab_log.hpp"
#include "rluf/pipeline/validation/ab_plan.hpp"
#include "rluf/pipeline/validation/recommendation.hpp"
#include "rluf/pipeline/validation/sweep_plan.hpp"
#include "rluf/pipeline/validation/validate.hpp"

namespace rluf {

struct RunConfig {
  RunOptions run;
  ParallelOptions parallel;
  ModelOptions model;
  SimulationOptions simulate;
  SignalOptions signals;
  DataOptions data;
  SftOptions sft;
  RewardOptions reward;
  EvaluationOptions evaluate;
  PolicyOptions policy;
  AlarmOptions alarms;
  ValidationOptions validate;
  Guardrails guardrails;
  SweepOptions sweep;
  AbLogOptions abtest;
  AbPlanOptions plan_ab;
  PlanOptions plan;

  /// The options as a table that points into this struct: it must not move afterwards.
  OptionTable table();
  /// Fills what follows from other options: the files of a simulated world.
  void complete();
  /// Checks for `command` what one option alone cannot tell. @throws Error(kBadInput) for options in contradiction
  void check(const std::string& command) const;
};

/// The stages of `rluf run`, in the order of the data's way; they refer to `config`.
std::vector<Stage> make_stages(const RunConfig& config);

}  // namespace rluf
