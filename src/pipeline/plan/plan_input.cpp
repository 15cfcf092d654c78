#include <algorithm>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/plan/plan.hpp"
#include "rluf/pipeline/policy/task_settings.hpp"
#include "rluf/pipeline/policy/warm_up.hpp"

namespace rluf {
namespace {

/// The folder's shape if it is here, else the named one.
PlannedModel model_of(const std::string& role, const std::string& folder, const std::string& shape,
                      const std::string& option, std::int64_t num_scores) {
  PlannedModel model{role, shape, {}};
  if (!folder.empty() && std::filesystem::exists(folder + "/config.json")) {
    model.config = LlamaConfig::from_folder(folder);
    model.shape = folder;
  } else if (shape.empty()) {
    fail_input(
        concat("the ", role, " model has no shape: ", folder.empty() ? "no folder is given" : folder + " is not here"),
        "memory and time follow from it", concat("set ", option, ", or the folder"));
  } else {
    model.config = shape_named(shape, option);
  }
  model.config.num_scores = num_scores;
  return model;
}

/// A reward model starts from its own folder, else from the policy's model.
PlannedModel reward_model(const std::string& name, const ObjectiveOptions& objective, const std::string& shape,
                          const RunOptionsOfPlan& run) {
  const bool own = !objective.base.empty() || !shape.empty();
  return model_of(name, own ? objective.base : run.model.base, own ? shape : run.plan.model,
                  own ? concat("plan.", name, "_model") : "plan.model", objective.num_score_rows());
}

void check_stages(const std::vector<std::string>& stages) {
  const std::vector<std::string> known = {"sft", "love", "helpfulness", "safety", "policy", "validate"};
  for (const std::string& stage : stages)
    if (std::find(known.begin(), known.end(), stage) == known.end()) {
      const std::string nearest = nearest_name(stage, known);
      fail_input(concat("plan.stages names ", stage), "it would be planned for nothing",
                 nearest.empty() ? "see rluf options" : concat("did you mean ", nearest, "?"));
    }
}

void refuse_adapters(const std::string& stage, const TrainOptions& options) {
  if (options.lora_rank > 0)
    fail_input(concat(stage, ".lora_rank = ", options.lora_rank, " cannot be planned yet"),
               "the formulas of work and traffic are those of training the weights themselves",
               "plan without it: memory and work are then upper bounds");
}

/// Mean lengths that the run would cut off, of what is planned.
void check_lengths(const RunOptionsOfPlan& run, bool reads_love, bool generates) {
  const PlanOptions& plan = run.plan;
  const auto longest = static_cast<double>(run.data.max_tokens);
  const auto check = [&](double tokens, double most, const std::string& what, const std::string& limit) {
    if (tokens > most)
      fail_input(concat(what, " = ", tokens, " is more than ", limit, " = ", most),
                 "a mean cannot be above the longest", "lower the first or raise the second");
  };
  if (reads_love) check(plan.love_tokens, longest, "plan.love_tokens", "data.max_tokens");
  check(plan.prompt_tokens + plan.response_tokens, longest, "plan.prompt_tokens + plan.response_tokens",
        "data.max_tokens");
  if (generates)
    check(plan.response_tokens, static_cast<double>(run.policy.max_new_tokens), "plan.response_tokens",
          "policy.max_new_tokens");
}

}  // namespace

const char* name_of(JudgePlacement placement) {
  return placement == JudgePlacement::kSharded ? "sharded" : placement == JudgePlacement::kHost ? "host" : "groups";
}

JudgePlacement placement_named(const std::string& name) {
  return name == "host" ? JudgePlacement::kHost : name == "groups" ? JudgePlacement::kGroups : JudgePlacement::kSharded;
}

std::vector<PlannedModel> PlanInput::models() const {
  std::vector<PlannedModel> all;
  for (const PlannedTraining& training : trainings) all.push_back(training.model);
  if (has_policy || has_validate) {
    all.push_back(policy_model);
    all.insert(all.end(), judges.begin() + 1, judges.end());
  }
  return all;
}

PlanInput plan_input(const RunOptionsOfPlan& run) {
  const PlanOptions& plan = run.plan;
  check_stages(plan.stages);
  PlanInput input{.options = plan,
                  .machine = machine_of(plan, run.model.compute),
                  .compute_bytes = run.model.compute == "bf16" ? 2.0 : 4.0,
                  .reproducible = run.run.reproducible,
                  .given = {.ranks = plan.ranks,
                            .ranks_per_node = std::min(plan.ranks, plan.ranks_per_node),
                            .shard = run.parallel.shard,
                            .tensor = run.parallel.tensor,
                            .zero = run.parallel.zero,
                            .recompute = recompute_named(run.parallel.recompute)},
                  .policy = run.policy,
                  .validate = run.validate};
  const auto wanted = [&](const std::string& stage) {
    return std::find(plan.stages.begin(), plan.stages.end(), stage) != plan.stages.end();
  };
  const double pair_tokens = plan.prompt_tokens + plan.response_tokens;
  const auto add = [&](const std::string& name, const PlannedModel& model, const TrainOptions& options, double examples,
                       const char* option, StepExamples step) {
    if (!wanted(name)) return;
    refuse_adapters(name, options);
    if (examples == 0) {
      input.left_out.push_back(concat(name, ": plan.", option, " = 0"));
      return;
    }
    step.examples = std::min(static_cast<double>(options.global_batch), examples);
    step.micro_batch_tokens = options.micro_batch_tokens;
    step.trainable_layers = options.trainable_layers;
    input.trainings.push_back({model, options, step, examples});
  };
  const auto policy_shape = [&] { return model_of("policy", run.model.base, plan.model, "plan.model", 0); };
  const bool rounds = wanted("policy") || wanted("validate");
  check_lengths(run, wanted("love") && plan.love_examples > 0, rounds);
  if (rounds || (wanted("sft") && plan.sft_examples > 0)) input.policy_model = policy_shape();
  add("sft", {"sft", input.policy_model.shape, input.policy_model.config}, run.sft.train, plan.sft_examples,
      "sft_examples", {.tokens_each = pair_tokens, .rows_each = plan.response_tokens});
  const StepExamples document{.tokens_each = plan.love_tokens}, pair{.documents_each = 2, .tokens_each = pair_tokens};
  struct Reward {
    const char* name;
    const ObjectiveOptions& objective;
    const std::string& shape;
    double examples;
    const char* option;
    const StepExamples& step;
  };
  const Reward rewards[] = {{"love", run.reward.love, plan.love_model, plan.love_examples, "love_examples", document},
                            {"helpfulness", run.reward.helpfulness, plan.helpfulness_model, plan.helpfulness_pairs,
                             "helpfulness_pairs", pair},
                            {"safety", run.reward.safety, plan.safety_model, plan.safety_pairs, "safety_pairs", pair}};
  if (rounds) input.judges.push_back({"reference", input.policy_model.shape, input.policy_model.config});
  for (const Reward& reward : rewards) {
    if (!rounds && !(wanted(reward.name) && reward.examples > 0)) continue;
    const PlannedModel model = reward_model(reward.name, reward.objective, reward.shape, run);
    add(reward.name, model, reward.objective.train, reward.examples, reward.option, reward.step);
    if (rounds) input.judges.push_back(model);
  }
  input.has_policy = wanted("policy");
  if (input.has_policy) {
    refuse_adapters("policy", run.policy.train);
    const TaskSettings tasks(run.policy);
    for (const auto& [task, setting] : tasks.all())
      if (setting.num_samples != run.policy.num_samples)
        fail_input(concat("policy.task_settings gives ", task, " its own num_samples"),
                   "the plan counts policy.num_samples for every prompt", "plan with the largest of them for all");
  }
  if (input.has_policy && run.policy.warm_up_steps > 0) {
    add("policy", {"warm_up", input.policy_model.shape, input.policy_model.config},
        warm_up_training(run.policy, std::llround(plan.helpfulness_pairs)), plan.helpfulness_pairs,
        "helpfulness_pairs (policy.warm_up_steps)",
        {.documents_each = 2, .tokens_each = pair_tokens, .rows_each = plan.response_tokens});
    if (plan.helpfulness_pairs > 0) input.trainings.back().preference = true;
  }
  if (run.validate.max_prompts > 0)
    input.options.held_out_prompts = std::min(plan.held_out_prompts, static_cast<double>(run.validate.max_prompts));
  input.has_validate = wanted("validate") && plan.held_out_prompts > 0;
  if (wanted("validate") && !input.has_validate) input.left_out.push_back("validate: plan.held_out_prompts = 0");
  if (input.trainings.empty() && !input.has_policy && !input.has_validate)
    fail_input("nothing is planned", "every stage of plan.stages lacks its examples",
               "set plan.love_examples, plan.helpfulness_pairs, plan.safety_pairs or plan.sft_examples");
  return input;
}

}  // namespace rluf
