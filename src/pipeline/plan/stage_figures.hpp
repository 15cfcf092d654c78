#pragma once
/// Figures that stages have in common.
#include "rluf/pipeline/plan/plan.hpp"

namespace rluf {

PlanSetting setting_of(const PlanInput& input, const PlanLayout& layout);
inline Quantity ranks_of(const PlanLayout& layout) { return {"ranks", static_cast<double>(layout.ranks)}; }

/// Weights and two moments of what is trained, in float32.
void add_checkpoint(StagePlan& stage, const LlamaConfig& config, std::int64_t trainable_layers, const Machine& machine);
void add_totals(StagePlan& stage, const PlanInput& input, const Quantity& ranks);
/// Model FLOPs utilisation: the share of the peak that useful operations take.
void add_mfu(StagePlan& stage, const Phase& step, const Quantity& ranks, const Machine& machine);

/// A pass of the documents of a step through a model that is not trained.
Phase reference_pass(const PlannedModel& model, const std::string& role, const StepExamples& step, bool from_host,
                     const PlanSetting& setting);

}  // namespace rluf
