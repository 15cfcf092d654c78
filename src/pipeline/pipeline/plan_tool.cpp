#include <iostream>

#include "rluf/pipeline/pipeline/tools.hpp"
#include "rluf/pipeline/plan/text.hpp"

namespace rluf {

void tool_plan(const RunConfig& config, const std::string& name, bool header_only) {
  const PlanInput input = plan_input({.plan = config.plan,
                                      .run = config.run,
                                      .model = config.model,
                                      .data = config.data,
                                      .sft = config.sft,
                                      .reward = config.reward,
                                      .policy = config.policy,
                                      .validate = config.validate,
                                      .shard = config.parallel.shard,
                                      .tensor = config.parallel.tensor});
  std::vector<RunPlan> plans = search_plans(input);
  RunPlan chosen = plans.front();
  if (!config.plan.search) {
    std::vector<LlamaConfig> models;
    for (const PlannedModel& model : input.models()) models.push_back(model.config);
    check_plan_layout(input.given, models);
    chosen = plan_run(input, input.given, placement_named(config.plan.placement));
  }
  if (!chosen.fits()) fail_memory(input, chosen);
  std::cout << (header_only ? plan_header(input, chosen, name) : plan_text(input, plans, chosen, name));
}

}  // namespace rluf
