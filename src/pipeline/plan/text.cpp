#include "rluf/pipeline/plan/text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

template <class... Values>
std::string format(const char* pattern, Values... values) {
  char text[512];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

constexpr double kGb = 1e9, kHour = 3600;

std::string machine_text(const PlanInput& input) {
  const std::int64_t ranks = input.given.ranks, node = input.given.ranks_per_node;
  return concat(ranks, " ranks on ", input.machine.device, ", ", node, " a node");
}

std::string layout_text(const PlanInput& input, const RunPlan& plan) {
  return plan.layout.text() +
         (input.has_policy ? concat(", models that score: ", name_of(plan.placement)) : std::string());
}

std::string table_head() {
  return format("%-12s %-14s %8s %9s %8s %12s %6s %9s %11s  %s\n", "stage", "model", "GB/rank", "s/step", "steps",
                "tokens/s/rank", "MFU", "hours", "rank-hours", "bound by");
}

std::string short_name(const std::string& shape) { return shape.substr(shape.find_last_of('/') + 1); }

std::string table_row(const StagePlan& stage, std::int64_t ranks) {
  const double hours = stage.seconds.value() / kHour;
  return format("%-12s %-14s %8.1f %9.3g %8.0f %12.0f %6s %9.2f %11.0f  %s\n", stage.name.c_str(),
                short_name(stage.shape).c_str(), stage.peak_bytes.value() / kGb, stage.step_seconds.value(),
                stage.steps.value(), stage.tokens_per_second,
                stage.mfu > 0 ? format("%.1f%%", 100 * stage.mfu).c_str() : "-", hours,
                hours * static_cast<double>(ranks), stage.bound.c_str());
}

std::string table(const PlanInput& input, const RunPlan& plan) {
  std::string text = table_head();
  for (const StagePlan& stage : plan.stages) text += table_row(stage, input.given.ranks);
  const double hours = plan.seconds / kHour;
  return text + format("%-12s %-14s %8.1f %9s %8s %12s %6s %9.2f %11.0f\n", "all", "", plan.peak_bytes / kGb, "", "",
                       "", "", hours, hours * static_cast<double>(input.given.ranks));
}

/// Of the rounds of one love weight.
double policy_hours(const PlanInput& input, const RunPlan& plan) {
  return static_cast<double>(input.policy.rounds) * plan.stage("policy")->step_seconds.value() / kHour;
}

std::string next_plans(const PlanInput& input, const std::vector<RunPlan>& plans) {
  std::string text;
  for (std::size_t i = 1; i < plans.size() && i < 4 && plans[i].fits(); ++i)
    text += format("  %zu. %s: %.2f h, %.1f GB a rank\n", i + 1, layout_text(input, plans[i]).c_str(),
                   plans[i].seconds / kHour, plans[i].peak_bytes / kGb);
  return text.empty() ? "  nothing else fits\n" : text;
}

/// The grid on which each stage alone, as a job of its own, would be fastest.
std::string best_alone(const std::vector<RunPlan>& plans, const RunPlan& chosen) {
  std::string text;
  for (std::size_t s = 0; s < chosen.stages.size() && chosen.stages.size() > 1; ++s) {
    const RunPlan* best = nullptr;
    for (const RunPlan& plan : plans)
      if (plan.stages[s].peak_bytes.value() <= plan.limit_bytes &&
          (best == nullptr || plan.stages[s].seconds.value() < best->stages[s].seconds.value()))
        best = &plan;
    if (best == nullptr || best->stages[s].seconds.value() >= chosen.stages[s].seconds.value()) continue;
    text += format("  %s: %.2f h instead of %.2f on %s\n", chosen.stages[s].name.c_str(),
                   best->stages[s].seconds.value() / kHour, chosen.stages[s].seconds.value() / kHour,
                   best->layout.text().c_str());
  }
  return text;
}

std::string placements(const PlanInput& input, const std::vector<RunPlan>& plans) {
  std::string text;
  for (const JudgePlacement placement : {JudgePlacement::kSharded, JudgePlacement::kHost, JudgePlacement::kGroups}) {
    const auto found = std::find_if(plans.begin(), plans.end(), [&](const RunPlan& plan) {
      return plan.placement == placement && plan.layout.ranks == input.given.ranks;
    });
    if (found == plans.end()) {
      text += concat("  ", name_of(placement), ": not compared",
                     placement == JudgePlacement::kGroups && group_ranks(input) == 0 ? ", too few nodes\n" : "\n");
      continue;
    }
    text += found->fits() ? format("  %s: %.2f h on %s\n", name_of(placement), found->seconds / kHour,
                                   found->layout.text().c_str())
                          : format("  %s: does not fit, short of %.1f GB a rank\n", name_of(placement),
                                   (found->peak_bytes - found->limit_bytes) / kGb);
  }
  return text;
}

std::string micro_batches(const PlanInput& input, const RunPlan& chosen) {
  std::string text;
  for (const BetterMicroBatch& better : better_micro_batches(input, chosen))
    text += format("  %s.micro_batch_tokens = %lld: %.2f h\n", better.stage.c_str(),
                   static_cast<long long>(better.tokens), better.seconds / kHour);
  return text;
}

std::string figures_text(const std::vector<Figure>& figures) {
  std::string text;
  for (const Figure& figure : figures) text += figure_text(figure);
  return text;
}

std::string models_text(const PlanInput& input) {
  std::string text;
  std::set<std::string> told;
  for (const PlannedModel& model : input.models()) {
    const std::string title = title_of(model);
    if (told.insert(title).second)
      text += concat("\n## Model ", title, "\n", figures_text(shape_symbols(model.config).figures()));
  }
  return text;
}

constexpr const char* kConventions =
    "\n## How to read this\n"
    "  Each line is: what it is: symbol = formula = the formula with its numbers = value. Bytes and seconds are of one "
    "rank,\n  operations of one micro-batch on all ranks of a tensor group. GB are 1e9 bytes.\n"
    "  A number added to a count of elements is what the fullest rank has more where rows do not divide evenly.\n"
    "  Operations: a product of [m, k] and [k, n] counts 2 m k n; attention counts the pairs under the causal mask.\n"
    "  MFU counts forward and twice that backward, attention under the causal mask, the head at positions with a loss "
    "only,\n  nothing computed again; by the peak of the device, not by what is reached of it.\n"
    "  tokens/s/rank are those of documents in training stages, and generated ones in policy and validate, while they "
    "generate;\n  s/step is a whole round of the policy stage, an arm of validate. bound by: the largest part of that "
    "time.\n"
    "  A collective on n ranks: an all-reduce moves 2 (n - 1) / n of its bytes, an all-gather and a reduce-scatter "
    "(n - 1) / n.\n"
    "  The efficiencies are assumptions until they are measured and given in [plan].\n"
    "  With adapters operations that count are those that their gradients need: backward to the states, and to them.\n"
    "  Not counted: the dataset stage, candidates of evaluate, measures on held-out rows, saving of model folders, "
    "single\n  numbers that travel (losses, norms), waiting for the slowest rank. Documents have their mean length, "
    "and every\n  prompt is judged.\n";

}  // namespace

std::string figure_text(const Figure& figure) {
  const double value = figure.quantity.value();
  std::string text = concat("  ", figure.text, ": ", figure.quantity.derivation());
  if (!figure.unit.empty()) text += " " + figure.unit;
  if (!figure.unit.empty() && std::abs(value) >= 1e6) text += " (" + short_text(value, figure.unit) + ")";
  return text + "\n";
}

std::string plan_text(const PlanInput& input, const std::vector<RunPlan>& plans, const RunPlan& chosen,
                      const std::string& name) {
  std::string text = concat("Plan of ", name, ": ", machine_text(input), "\n", layout_text(input, chosen), "\n");
  text += format("%.1f of %.1f GB a rank that programs can use, %.2f hours, %.0f rank-hours\n\n",
                 chosen.peak_bytes / kGb, chosen.limit_bytes / kGb, chosen.seconds / kHour,
                 chosen.seconds / kHour * static_cast<double>(input.given.ranks));
  text += table(input, chosen);
  if (const std::size_t weights = input.policy.love_weights.size(); input.has_policy && weights > 1)
    text += format("  policy: %zu love weights, %.2f hours each; as jobs of their own they run side by side\n", weights,
                   policy_hours(input, chosen));
  for (const std::string& left_out : input.left_out) text += "  left out: " + left_out + "\n";
  for (const std::string& assumed : input.assumed) text += "  assumed: " + assumed + "\n";
  text += "\nThe next:\n" + next_plans(input, plans);
  if (input.has_policy)
    text += "\nModels that score in the policy stage, the best of each:\n" + placements(input, plans);
  if (const std::string alone = best_alone(plans, chosen); !alone.empty())
    text += "\nAs jobs of their own some stages would be faster on another grid:\n" + alone;
  if (const std::string better = micro_batches(input, chosen); !better.empty())
    text += "\nOther micro-batches would be faster on this grid:\n" + better;
  text += "\nCheckpoints:\n";
  for (const StagePlan& stage : chosen.stages)
    if (stage.checkpoint_bytes.value() > 0)
      text += format("  %s: %.1f GB, %.0f s beside the training\n", stage.name.c_str(),
                     stage.checkpoint_bytes.value() / kGb, stage.checkpoint_seconds.value());
  text += kConventions;
  text += "\n## Machine\n" + figures_text(input.machine.figures) + models_text(input);
  for (const StagePlan& stage : chosen.stages) {
    for (const Phase& phase : stage.phases)
      text += concat("\n## ", stage.name, ": ", phase.title, "\n", figures_text(phase.figures));
    text += concat("\n## ", stage.name, ": the stage\n", figures_text(stage.figures));
  }
  return text;
}

std::string plan_header(const PlanInput& input, const RunPlan& chosen, const std::string& name) {
  std::string text =
      concat("# -- rluf plan ", name, " --header\n# ", machine_text(input), ": ", layout_text(input, chosen), "\n");
  for (std::size_t s = 0; s < chosen.stages.size(); ++s) {
    const StagePlan& stage = chosen.stages[s];
    const double hours = stage.seconds.value() / kHour;
    const double once = (stage.seconds.value() - stage.steps.value() * stage.step_seconds.value()) / kHour;
    text += format("# %-12s %-12s %6.0f steps x %.4g s%s = %.2f h = %.0f rank-hours, %.1f GB a rank\n",
                   stage.name.c_str(), short_name(stage.shape).c_str(), stage.steps.value(), stage.step_seconds.value(),
                   once > 0.005 ? format(" + %.2f h once", once).c_str() : "", hours,
                   hours * static_cast<double>(input.given.ranks), stage.peak_bytes.value() / kGb);
  }
  text += format("# all of it: %.1f hours, %.0f rank-hours, %.1f of %.1f GB a rank\n# --\n", chosen.seconds / kHour,
                 chosen.seconds / kHour * static_cast<double>(input.given.ranks), chosen.peak_bytes / kGb,
                 chosen.limit_bytes / kGb);
  return text;
}

void fail_memory(const PlanInput& input, const RunPlan& smallest) {
  const auto worst = std::max_element(
      smallest.stages.begin(), smallest.stages.end(),
      [](const StagePlan& a, const StagePlan& b) { return a.peak_bytes.value() < b.peak_bytes.value(); });
  const std::string section = worst->name == "warm_up" ? "policy" : worst->name;
  fail_input(
      format("stage %s needs %.1f GB a rank, %.1f GB more than the %.1f GB that programs can use of %s",
             worst->name.c_str(), smallest.peak_bytes / kGb, (smallest.peak_bytes - smallest.limit_bytes) / kGb,
             smallest.limit_bytes / kGb, input.machine.device.c_str()),
      concat(input.options.search ? "no layout fits, the smallest is " : "the layout is ",
             layout_text(input, smallest)),
      concat("raise plan.ranks, lower ", section, ".micro_batch_tokens or ", section, ".trainable_layers",
             input.reproducible ? ", or set run.reproducible = false" : "",
             input.machine.on_host || input.given.optimizer_on_host ? "" : ", or set parallel.optimizer_memory = host",
             input.options.search ? "" : ", or let plan.search look for a layout"));
}

}  // namespace rluf
