#include <chrono>
#include <cstdio>
#include <iostream>

#include "rluf/core/log.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"
#include "rluf/pipeline/plan/dry_run.hpp"
#include "rluf/pipeline/plan/text.hpp"

namespace rluf {
namespace {

PlanInput input_of(const RunConfig& config) {
  return plan_input({.plan = config.plan,
                     .run = config.run,
                     .model = config.model,
                     .data = config.data,
                     .signals = config.signals,
                     .sft = config.sft,
                     .reward = config.reward,
                     .evaluate = config.evaluate,
                     .policy = config.policy,
                     .validate = config.validate,
                     .parallel = config.parallel});
}

void check_given(const PlanInput& input) {
  std::vector<LlamaConfig> models;
  for (const PlannedModel& model : input.models()) models.push_back(model.config);
  check_plan_layout(input.given, models);
}

template <class... Values>
void print(const char* format, Values... values) {
  char line[512];
  std::snprintf(line, sizeof line, format, values...);
  std::cout << line;
}

}  // namespace

void tool_plan(const RunConfig& config, const std::string& name, bool header_only) {
  const PlanInput input = input_of(config);
  std::vector<RunPlan> plans = search_plans(input);
  RunPlan chosen = plans.front();
  if (!config.plan.search) {
    check_given(input);
    chosen = plan_run(input, input.given, placement_named(config.plan.placement));
  }
  if (!chosen.fits()) fail_memory(input, chosen);
  std::cout << (header_only ? plan_header(input, chosen, name) : plan_text(input, plans, chosen, name));
}

void tool_dry_run(const RunConfig& config, const std::string& name) {
  const PlanInput input = input_of(config);
  check_given(input);
  std::cout << "Dry run of " << name << ": " << input.given.ranks << " ranks, " << input.given.text() << "\n";
  const double start = now_seconds();
  const DryRun walked = dry_run(input, config.parallel);
  const RunPlan plan = plan_run(input, input.given, JudgePlacement::kSharded);
  const double usable_bytes = plan.limit_bytes;
  std::cout << "  stage        tensors at the peak, GB a rank   planned   of\n";
  bool fits = true;
  for (const DryStage& stage : walked.stages) {
    const double planned = plan.stage(stage.name)->peak_bytes.value();
    fits &= static_cast<double>(stage.most_bytes) <= usable_bytes;
    print("  %-12s %6.2f to %6.2f (rank %d)  %14.2f %7.1f%s\n", stage.name.c_str(),
          static_cast<double>(stage.fewest_bytes) * 1e-9, static_cast<double>(stage.most_bytes) * 1e-9,
          stage.fullest_rank, planned * 1e-9, usable_bytes * 1e-9,
          static_cast<double>(stage.most_bytes) <= usable_bytes ? "" : "  DOES NOT FIT");
  }
  print("  %lld collectives of all ranks meet in order and size; each row of %lld tensors is written by one rank\n",
        static_cast<long long>(walked.num_calls), static_cast<long long>(walked.num_tensors));
  std::cout << "  rank 0 hands over, a step of each stage:\n";
  for (const auto& [axis, collectives] : walked.traffic)
    for (const auto& [collective, traffic] : collectives)
      print("    %-9s %-15s %7lld calls %12.3f GB\n", axis.c_str(), collective.c_str(),
            static_cast<long long>(traffic.calls), static_cast<double>(traffic.bytes) * 1e-9);
  print("  walked in %.0f s\n", now_seconds() - start);
  if (!fits)
    fail_input("a stage does not fit into a rank's memory", "it would end with an error of the allocator",
               "see rluf plan for a grid that fits, and set [parallel]");
}

}  // namespace rluf
