#pragma once
/// A plan in words and numbers.
#include <string>
#include <vector>

#include "rluf/pipeline/plan/plan.hpp"

namespace rluf {

/// "  a round: s_round = max(...) = 1.234 s": every line whose formula can be checked by hand has this form.
std::string figure_text(const Figure& figure);

/// The chosen plan, the next ones, and every figure with its formula. `name`: the input as the user wrote it.
std::string plan_text(const PlanInput& input, const std::vector<RunPlan>& plans, const RunPlan& chosen,
                      const std::string& name);
/// The same in a few lines that begin with #, for the head of a job script.
std::string plan_header(const PlanInput& input, const RunPlan& chosen, const std::string& name);
/// @throws Error(kBadInput) that says by how much it does not fit, and what would help
[[noreturn]] void fail_memory(const PlanInput& input, const RunPlan& smallest);

}  // namespace rluf
