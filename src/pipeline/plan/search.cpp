#include <algorithm>

#include "rluf/pipeline/plan/plan.hpp"

namespace rluf {
namespace {

/// All stages but the policy's, which alone depends on the placement.
RunPlan without_policy(const PlanInput& input, const PlanLayout& layout) {
  RunPlan plan{.layout = layout};
  if (input.log_rows > 0) plan.stages.push_back(plan_signals(input, layout));
  for (const PlannedTraining& training : input.trainings) plan.stages.push_back(plan_training(training, input, layout));
  if (input.audit_rows > 0) plan.stages.push_back(plan_evaluate(input, layout));
  if (input.has_validate) plan.stages.push_back(plan_validate(input, layout));
  return plan;
}

RunPlan with_policy(RunPlan plan, const PlanInput& input, JudgePlacement placement) {
  plan.placement = placement;
  if (input.has_policy)
    plan.stages.insert(plan.stages.end() - (input.has_validate ? 1 : 0), plan_policy(input, plan.layout, placement));
  const Machine& machine = input.machine;
  plan.limit_bytes = machine.memory.value() - machine.program.value() - machine.spare.value();
  for (const StagePlan& stage : plan.stages) {
    plan.seconds += stage.seconds.value();
    plan.peak_bytes = std::max(plan.peak_bytes, stage.peak_bytes.value());
  }
  return plan;
}

}  // namespace

const StagePlan* RunPlan::stage(const std::string& name) const {
  const auto found = std::ranges::find(stages, name, &StagePlan::name);
  return found == stages.end() ? nullptr : &*found;
}

RunPlan plan_run(const PlanInput& input, const PlanLayout& layout, JudgePlacement placement) {
  return with_policy(without_policy(input, layout), input, placement);
}

std::vector<RunPlan> search_plans(const PlanInput& input) {
  std::vector<LlamaConfig> models;
  for (const PlannedModel& model : input.models()) models.push_back(model.config);
  const std::string& wanted = input.options.placement;
  std::vector<RunPlan> plans;
  for (PlanLayout layout : all_layouts(input.given.ranks, input.given.ranks_per_node, models)) {
    layout.reduces_bf16 = input.given.reduces_bf16;
    layout.optimizer_on_host = input.given.optimizer_on_host;
    layout.gather_ahead = input.given.gather_ahead;
    const RunPlan others = without_policy(input, layout);
    for (const JudgePlacement placement : {JudgePlacement::kSharded, JudgePlacement::kHost, JudgePlacement::kGroups}) {
      const bool asked =
          !input.has_policy ? placement == JudgePlacement::kSharded : wanted == "auto" || wanted == name_of(placement);
      // A device in the host's memory has no other one; a group a model takes a node.
      const bool possible = placement == JudgePlacement::kSharded ||
                            (placement == JudgePlacement::kHost ? !input.machine.on_host : group_ranks(input) > 0);
      if (asked && possible) plans.push_back(with_policy(others, input, placement));
    }
  }
  std::stable_sort(plans.begin(), plans.end(), [](const RunPlan& a, const RunPlan& b) {
    if (a.fits() != b.fits()) return a.fits();
    return a.fits() ? a.seconds < b.seconds : a.peak_bytes < b.peak_bytes;
  });
  return plans;
}

std::vector<BetterMicroBatch> better_micro_batches(const PlanInput& input, const RunPlan& chosen) {
  std::vector<BetterMicroBatch> better;
  const std::size_t num_trained = input.trainings.size() + (input.has_policy ? 1 : 0);
  for (std::size_t s = 0; s < num_trained; ++s) {
    const bool is_policy = s == input.trainings.size();
    if (!is_policy && input.trainings[s].preference) continue;  // its micro-batches are the policy's
    const StagePlan& stage = *chosen.stage(is_policy ? "policy" : input.trainings[s].model.role);
    PlanInput other = input;
    std::int64_t& tokens =
        is_policy ? other.policy.train.micro_batch_tokens : other.trainings[s].step.micro_batch_tokens;
    const std::int64_t given = tokens;
    BetterMicroBatch best{stage.name, given, stage.seconds.value()};
    for (const double factor : {0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0}) {
      tokens = std::max<std::int64_t>(1, static_cast<std::int64_t>(factor * static_cast<double>(given)));
      const StagePlan trial = is_policy ? plan_policy(other, chosen.layout, chosen.placement)
                                        : plan_training(other.trainings[s], other, chosen.layout);
      if (trial.peak_bytes.value() <= chosen.limit_bytes && trial.seconds.value() < best.seconds)
        best = {stage.name, tokens, trial.seconds.value()};
    }
    if (best.seconds < 0.98 * stage.seconds.value()) better.push_back(best);
  }
  return better;
}

}  // namespace rluf
