#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/judges/model_judges.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rluf/pipeline/policy/task_settings.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {
namespace {

/// Every task needs something to rank responses by, for each love weight.
void check_objectives(const PolicyOptions& options, const TaskSettings& tasks) {
  for (const auto& [task, setting] : tasks.all())
    for (const double love : options.love_weights)
      if (options.helpfulness_weight * setting.factor("helpfulness") +
              options.safety_weight * setting.factor("safety") + love * setting.factor("love") <=
          0)
        fail_input(concat("all objectives have the weight 0", task == "*" ? "" : " for the task " + task,
                          " at the love weight ", love),
                   "there is nothing to rank responses by", "give one of them a positive weight");
}

/// Options that the chosen optimizer cannot work with, or would not look at.
void check_optimizer(const PolicyOptions& options) {
  const PolicyOptimizer& optimizer = policy_optimizer(options.optimizer);
  const auto fail = [&](const std::string& option, const std::string& why, const std::string& what) {
    fail_input(concat(option, " with policy.optimizer = ", optimizer.name), why, what);
  };
  const bool crraft = optimizer.name == "crraft", log_prob = optimizer.form == LossForm::kLogProb;
  if (options.num_samples < 2 && (optimizer.form != LossForm::kLogProb))
    fail("policy.num_samples = 1", "it compares the responses to a prompt with each other", "draw at least 2");
  if (optimizer.name == "crpg" && options.kl_max <= 0)
    fail("policy.kl_max = 0", "the reward is divided by it", "give a positive cap");
  if (optimizer.name == "crpg" && options.steps_per_round > 1)
    fail(concat("policy.steps_per_round = ", options.steps_per_round),
         "its gradient is that of the policy that drew, and after a step the policy is another",
         "take 1, or rloo, which corrects for it");
  if (!crraft && options.weighting == "one")
    fail("policy.weighting = one", "only crraft has a choice of weights", "leave it out; raft's weights are one");
  if (!crraft && options.baseline_kl_check)
    fail("policy.baseline_kl_check", "only crraft falls back to baseline responses", "leave it out");
  if (options.normalize == "kept" && optimizer.trains_all_samples)
    fail("policy.normalize = kept", "it skips no prompt", "leave it out");
  if (options.length_norm == "tokens" && !log_prob)
    fail("policy.length_norm = tokens", "its loss says itself how tokens count", "leave it out");
}

}  // namespace

void PolicyOptions::describe(OptionTable& table) {
  table.section("policy", "Rounds of an optimizer, CRRAFT first of all: draw, score, judge, choose, train.");
  std::vector<std::string> optimizers;
  for (const PolicyOptimizer& one : policy_optimizers()) optimizers.push_back(one.name);
  table.add(
      "optimizer", &optimizer,
      {.text = "crraft, crpg, codpo: CGPO's; raft: the best response with weight 1; best_of_n: the same, but drawn "
               "from the reference; online_dpo: the best against the worst; rloo, grpo: advantages within a "
               "prompt. A response that violates a judge is never reinforced as such: it is left out or has "
               "the reward 0",
       .choices = optimizers});
  table.add("weights_apply_to", &weights_apply_to,
            {.text = "reward: the optimizer sees the weighted sum of the objectives; gradients: it works on each "
                     "objective alone, and their gradients are added with the weights",
             .choices = {"reward", "gradients"}});
  table.add("love_weights", &love_weights,
            {.text = "weight of the love objective; one policy is trained for each", .low = 0, .high = 100});
  table.add("helpfulness_weight", &helpfulness_weight,
            {.text = "weight of the helpfulness objective", .low = 0, .high = 100});
  table.add("safety_weight", &safety_weight, {.text = "weight of the safety objective", .low = 0, .high = 100});
  table.add("normalize_weights", &normalize_weights,
            {.text = "divide the weights by their sum (the paper's add up to more than 1)"});
  table.add("base", &base,
            {.text = "model folder to start from; empty: models/reference, else model.base", .allow_empty = true});
  table.add("warm_up_steps", &warm_up_steps,
            {.text = "steps of offline DPO on data.helpfulness_pairs before the rounds, once for all love weights; the "
                     "result is where the policies start and what their rounds take as reference. 0: none",
             .unit = "steps",
             .low = 0});
  table.add("warm_up_batch", &warm_up_batch,
            {.text = "pairs of one step of the warm-up, all ranks together", .unit = "pairs", .low = 1});
  table.add("warm_up_learning_rate", &warm_up_learning_rate,
            {.text = "peak of the warm-up's schedule", .low = 0, .high = 1});
  table.add("rounds", &rounds, {.text = "rounds of a policy", .unit = "rounds", .low = 1});
  table.add("prompts_per_round", &prompts_per_round,
            {.text = "prompts of one round, all ranks together", .unit = "prompts", .low = 1});
  table.add("num_samples", &num_samples, {.text = "responses drawn for a prompt (N, or K)", .low = 1, .high = 1024});
  table.add("steps_per_round", &steps_per_round,
            {.text = "optimizer steps on the responses of a round", .unit = "steps", .low = 1, .high = 64});
  table.add("max_new_tokens", &max_new_tokens, {.text = "longest response", .unit = "tokens", .low = 1});
  batching.describe(table);
  table.add("temperature", &sampling.temperature, {.text = "of the draws; 0: greedy", .low = 0, .high = 100});
  table.add("top_p", &sampling.top_p, {.text = "smallest set of tokens of this probability", .low = 0, .high = 1});
  table.add("top_k", &sampling.top_k, {.text = "number of tokens to draw from; 0: all", .unit = "tokens", .low = 0});
  table.add("baseline", &baseline,
            {.text = "baseline responses: drawn from the reference, or the preferred answers of data.helpfulness_pairs "
                     "where a prompt has one",
             .choices = {"reference", "preferred"}});
  table.add("baseline_weight", &baseline_weight,
            {.text = "calibrated reward of a baseline response for each objective; sigma(0) in the paper",
             .low = 0,
             .high = 1});
  table.add("baseline_kl_check", &baseline_kl_check, {.text = "crraft: the KL cap also holds for a baseline response"});
  table.add("kl_max", &kl_max,
            {.text = "largest log pi(a) - log pi_ref(a) of a response (crraft, crpg); no published value",
             .unit = "nats",
             .low = 0});
  table.add("dpo_beta", &dpo_beta,
            {.text = "codpo, online_dpo and the warm-up: how sharply a preference counts", .low = 1e-6, .high = 1000});
  table.add("codpo_lambda", &codpo_lambda,
            {.text = "codpo: weight of the mean log-probability of the chosen response; no published value",
             .low = 0,
             .high = 1000});
  table.add("clip_range", &clip_range,
            {.text = "rloo, grpo: how far from 1 the ratio to the policy that drew counts", .low = 0, .high = 1});
  table.add("kl_penalty", &kl_penalty,
            {.text = "rloo: times the log-ratio off the reward; grpo: times the KL to the reference on the loss",
             .low = 0,
             .high = 1000});
  table.add(
      "weighting", &weighting,
      {.text = "crraft: weight of a chosen response, its calibrated reward or one", .choices = {"calibrated", "one"}});
  table.add(
      "normalize", &normalize,
      {.text = "what the loss is divided by: prompts of the round, or those not skipped (crpg, rloo and grpo skip "
               "none)",
       .choices = {"batch", "kept"}});
  table.add("length_norm", &length_norm,
            {.text = "crraft, raft, best_of_n, crpg: tokens divides log pi(a) by the tokens of a",
             .choices = {"none", "tokens"}});
  table.add(
      "closing_phrases", &closing_phrases,
      {.text = "phrases between commas that count as ending the conversation: watched, and judged by the judge closing",
       .allow_empty = true});
  table.add("task_settings", &task_settings,
            {.text = "what a task (a class of prompts) has of its own, as in: math: weight=2 num_samples=8 kl_max=20 "
                     "love=0; chat: prompts=4. weight: what its mean gradient counts; helpfulness, safety, love: times "
                     "the objective's weight; prompts: of each round (then of every task; * stands for all others). "
                     "A prompt's task is its field task, or found by policy.task_words",
             .allow_empty = true});
  table.add("task_words", &task_words,
            {.text = "the task of a prompt without the field, by phrases in its last message, the first that fits: "
                     "math: solve, how many; code: python",
             .allow_empty = true});
  judges.describe(table);
  table.add("witnesses", &witnesses,
            {.text = "folders of reward models that score every response and choose none, such as a love model of "
                     "another seed or of other data: proxy against held-out reward; an alarm says when they fall",
             .allow_empty = true});
  table.add("learning_rate", &train.learning_rate, {.text = "peak of the schedule", .low = 0, .high = 1});
  table.add("min_learning_rate_ratio", &train.min_learning_rate_ratio,
            {.text = "end of the cosine, as a share of the peak", .low = 0, .high = 1});
  table.add("warmup_steps", &train.warmup_steps, {.text = "linear warm-up", .unit = "steps", .low = 0});
  table.add("weight_decay", &train.weight_decay, {.text = "decoupled decay of the matrices", .low = 0, .high = 1});
  table.add("beta1", &train.beta1, {.text = "AdamW's first moment", .low = 0, .high = 0.99999});
  table.add("beta2", &train.beta2, {.text = "AdamW's second moment", .low = 0, .high = 0.999999});
  table.add("epsilon", &train.epsilon, {.text = "AdamW's guard against division by zero", .low = 1e-16, .high = 1});
  table.add("clip_norm", &train.clip_norm, {.text = "largest gradient norm; 0: no clipping", .low = 0});
  table.add("micro_batch_tokens", &train.micro_batch_tokens,
            {.text = "packed tokens of one forward pass of one rank", .unit = "tokens", .low = 1});
  train.describe_trained(table);
  table.add("checkpoint_every_rounds", &train.checkpoint_every_steps,
            {.text = "0: only at the end of a policy", .unit = "rounds", .low = 0});
  table.repeated_section(
      "judge",
      "A judge that is a model or a program, by the name that you give it; it judges if policy.judges "
      "or policy.watching_judges names it.",
      &judges.named);
}

void PolicyOptions::check() const {
  if (love_weights.empty())
    fail_input("policy.love_weights is empty", "no policy would be trained", "give at least one weight, such as 0.0");
  std::set<std::string> names;
  for (const double weight : love_weights) {
    if (!names.insert(policy_name(weight)).second)
      fail_input(concat("policy.love_weights holds ", weight, " twice"), "both would write the same folder",
                 "name each weight once");
  }
  if (sampling.top_p <= 0)
    fail_input("policy.top_p = 0", "no token could be drawn",
               "use a value above 0, or policy.temperature = 0 for the likeliest token");
  const TaskSettings tasks(*this);
  check_objectives(*this, tasks);
  for (const auto& [task, setting] : tasks.all()) check_optimizer(setting.applied_to(*this));
  const TaskWords words(task_words);  // reads them
  judges.check();
}

CrraftRules PolicyOptions::rules() const {
  return {kl_max, baseline_kl_check, weighting == "one" ? Weighting::kOne : Weighting::kCalibrated};
}

GenerationOptions PolicyOptions::generation() const {
  return {.max_new_tokens = max_new_tokens, .num_samples = num_samples, .sampling = sampling, .batching = batching};
}

std::int64_t generation_memory_bytes(const PolicyOptions& options, const DataOptions& data,
                                     const StageContext& context) {
  const std::string base = starting_model(options.base, context);
  const LlamaConfig config = LlamaConfig::from_folder(base);
  GenerationOptions generation = options.generation();
  const TaskSettings tasks(options);
  for (const auto& [task, setting] : tasks.all())
    generation.num_samples = std::max(generation.num_samples, setting.num_samples);
  std::int64_t bytes = text_memory_bytes(base) + inference_memory_bytes(config, options.train.micro_batch_tokens) +
                       cache_memory_bytes(config, generation, data.max_tokens);
  std::vector<std::string> reward_models = options.witnesses;
  for (const char* name : {"love", "helpfulness", "safety"})
    if (const std::string folder = context.directory.model(name); std::filesystem::exists(folder + "/config.json"))
      reward_models.push_back(folder);
  for (const std::string& folder : reward_models)
    bytes += text_memory_bytes(folder) / 4 + weight_bytes(LlamaConfig::from_folder(folder));
  return bytes + judge_memory_bytes(options.judges);
}

std::int64_t policy_memory_bytes(const PolicyOptions& options, const DataOptions& data, const StageContext& context) {
  const LlamaConfig config = LlamaConfig::from_folder(starting_model(options.base, context));
  const std::int64_t shared = options.train.lora_rank > 0 ? weight_bytes(config) : 0;  // with the reference
  return generation_memory_bytes(options, data, context) +
         training_memory_bytes(config, options.train, context.grid.world.size()) - shared;
}

std::string policy_name(double love_weight) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", love_weight);
  const std::string number = text;
  return "policy_w" + number + (number.find_first_of(".e") == std::string::npos ? ".0" : "");
}

}  // namespace rluf
