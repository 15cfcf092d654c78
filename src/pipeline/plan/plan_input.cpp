#include <algorithm>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/plan/plan.hpp"
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
  if (num_scores >= 0) model.config.num_scores = num_scores;
  return model;
}

/// A reward model of another run: as many heads as it has, one if it is not here.
PlannedModel finished_model(const std::string& role, const std::string& folder, const std::string& shape,
                            const std::string& option) {
  PlannedModel model = model_of(role, folder, shape, option, -1);
  model.config.num_scores = std::max<std::int64_t>(1, model.config.num_scores);
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
  const std::vector<std::string> known = PlanOptions().stages;
  for (const std::string& stage : stages)
    if (std::find(known.begin(), known.end(), stage) == known.end()) {
      const std::string nearest = nearest_name(stage, known);
      fail_input(concat("plan.stages names ", stage), "it would be planned for nothing",
                 nearest.empty() ? "see rluf options" : concat("did you mean ", nearest, "?"));
    }
}

/// Witnesses and the judges' models, after the reference and the reward models.
void add_other_scorers(const RunOptionsOfPlan& run, std::vector<PlannedScorer>& scorers) {
  using Use = PlannedScorer::Use;
  const PlanOptions& plan = run.plan;
  const auto shape_or_model = [&](const std::string& shape) { return shape.empty() ? plan.model : shape; };
  for (std::size_t i = 0; i < run.policy.witnesses.size(); ++i)
    scorers.push_back({finished_model(concat("witness_", i + 1), run.policy.witnesses[i],
                                      shape_or_model(plan.witness_model), "plan.witness_model"),
                       Use::kWitness});
  const std::string judge_shape = shape_or_model(plan.judge_model);
  constexpr double kJudgedWords = 2;  // how likely each of its two answers is
  for (const auto& [model, names] : judges_by_model(run.policy.judges.used())) {
    const auto& [kind, folder] = model;
    std::string role = "judge";
    for (const std::string& name : names) role += "_" + name;
    const auto passes = static_cast<double>(names.size());
    if (kind == "model")
      scorers.push_back({model_of(role, folder, judge_shape, "plan.judge_model", 0), Use::kJudge, plan.judge_tokens,
                         kJudgedWords, passes});
    else
      scorers.push_back({finished_model(role, folder, judge_shape, "plan.judge_model"), Use::kJudge, 0, 0, passes});
  }
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
    for (std::size_t i = 1; i < scorers.size(); ++i) all.push_back(scorers[i].model);
  }
  all.insert(all.end(), audited.begin(), audited.end());
  return all;
}

PlanInput plan_input(const RunOptionsOfPlan& run) {
  const PlanOptions& plan = run.plan;
  check_stages(plan.stages);
  run.parallel.check(run.run.reproducible);
  PlanInput input{.options = plan,
                  .machine = machine_of(plan, run.model.compute),
                  .compute_bytes = run.model.compute == "bf16" ? 2.0 : 4.0,
                  .reproducible = run.run.reproducible,
                  .given = {.ranks = plan.ranks,
                            .ranks_per_node = std::min(plan.ranks, plan.ranks_per_node),
                            .shard = run.parallel.shard,
                            .tensor = run.parallel.tensor,
                            .zero = run.parallel.zero,
                            .recompute = recompute_named(run.parallel.recompute),
                            .reduces_bf16 = run.parallel.gradient_reduction == "bf16",
                            .optimizer_on_host = run.parallel.optimizer_memory == "host",
                            .gather_ahead = run.parallel.gather_ahead},
                  .policy = run.policy,
                  .validate = run.validate};
  if (input.machine.on_host) input.given.optimizer_on_host = false;  // it is there anyhow
  const auto wanted = [&](const std::string& stage) {
    return std::find(plan.stages.begin(), plan.stages.end(), stage) != plan.stages.end();
  };
  const double pair_tokens = plan.prompt_tokens + plan.response_tokens;
  const auto add = [&](const std::string& name, const PlannedModel& model, const TrainOptions& options, double examples,
                       const char* option, StepExamples step) {
    if (!wanted(name)) return;
    if (examples == 0) {
      input.left_out.push_back(concat(name, ": plan.", option, " = 0"));
      return;
    }
    step.examples = std::min(static_cast<double>(options.global_batch), examples);
    step.micro_batch_tokens = options.micro_batch_tokens;
    step.trainable_layers = options.trainable_layers;
    input.trainings.push_back({model, options, step, examples});
    LlamaConfig& config = input.trainings.back().model.config;
    config = trained_config(config, options);
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
  // The audit is of reward models that this run trains.
  const double pairs = std::max(plan.helpfulness_pairs, plan.safety_pairs);
  const bool audits = wanted("evaluate") && run.evaluate.audit_rows > 0 && plan.love_examples > 0 && pairs > 0;
  if (rounds)
    input.scorers.push_back({{"reference", input.policy_model.shape, input.policy_model.config},
                             PlannedScorer::Use::kReference,
                             0,
                             plan.response_tokens});
  for (const Reward& reward : rewards) {
    const bool audited = audits && reward.examples > 0;
    if (!rounds && !audited && !(wanted(reward.name) && reward.examples > 0)) continue;
    const PlannedModel model = reward_model(reward.name, reward.objective, reward.shape, run);
    add(reward.name, model, reward.objective.train, reward.examples, reward.option, reward.step);
    if (rounds) input.scorers.push_back({model, PlannedScorer::Use::kReward});
    if (audited) input.audited.push_back(model);
  }
  if (audits) {
    input.audit_rows = static_cast<double>(run.evaluate.audit_rows);
    input.audit_micro_batch_tokens = run.evaluate.micro_batch_tokens;
  } else if (wanted("evaluate") && run.evaluate.audit_rows > 0) {
    input.left_out.push_back("evaluate: its audit needs plan.love_examples, and pairs of helpfulness or safety");
  }
  if (rounds) add_other_scorers(run, input.scorers);
  if (wanted("signals") && run.signals.enabled) {
    const auto most = static_cast<double>(run.data.max_rows);
    input.log_rows = most > 0 ? std::min(most, plan.interactions) : plan.interactions;
    if (input.log_rows == 0) input.left_out.push_back("signals: plan.interactions = 0");
  }
  input.has_policy = wanted("policy");
  if (input.has_policy && round_work(run.policy).is_bound)
    input.assumed.push_back(
        "every prompt has the largest num_samples of policy.task_settings: without their prompts the shares of tasks "
        "are not known");
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
  if (input.trainings.empty() && !input.has_policy && !input.has_validate && input.log_rows == 0 &&
      input.audit_rows == 0)
    fail_input("nothing is planned", "every stage of plan.stages lacks its examples",
               "set plan.love_examples, plan.helpfulness_pairs, plan.safety_pairs or plan.sft_examples");
  return input;
}

}  // namespace rluf
