#include <cstdio>
#include <filesystem>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/judges/model_judges.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {

void PolicyOptions::describe(OptionTable& table) {
  table.section("policy", "CRRAFT: draw, judge, choose by calibrated reward, one weighted step a round.");
  table.add("love_weights", &love_weights,
            {.text = "weight of the love objective; one policy is trained for each", .low = 0, .high = 100});
  table.add("helpfulness_weight", &helpfulness_weight,
            {.text = "weight of the helpfulness objective", .low = 0, .high = 100});
  table.add("safety_weight", &safety_weight, {.text = "weight of the safety objective", .low = 0, .high = 100});
  table.add("normalize_weights", &normalize_weights,
            {.text = "divide the weights by their sum (the paper's add up to more than 1)"});
  table.add("base", &base,
            {.text = "model folder to start from; empty: models/reference, else model.base", .allow_empty = true});
  table.add("rounds", &rounds, {.text = "rounds of a policy", .unit = "rounds", .low = 1});
  table.add("prompts_per_round", &prompts_per_round,
            {.text = "prompts of one round, all ranks together", .unit = "prompts", .low = 1});
  table.add("num_samples", &num_samples, {.text = "responses drawn for a prompt (best of N)", .low = 1, .high = 1024});
  table.add("steps_per_round", &steps_per_round,
            {.text = "optimizer steps on the chosen responses of a round", .unit = "steps", .low = 1, .high = 64});
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
  table.add("baseline_kl_check", &baseline_kl_check, {.text = "the KL cap also holds for a baseline response"});
  table.add("kl_max", &kl_max,
            {.text = "largest log pi(a) - log pi_ref(a) of a response; no published value", .unit = "nats", .low = 0});
  table.add(
      "weighting", &weighting,
      {.text = "weight of a chosen response: its calibrated reward, or one (RAFT)", .choices = {"calibrated", "one"}});
  table.add("normalize", &normalize,
            {.text = "what the loss is divided by: prompts of the round, or those not skipped",
             .choices = {"batch", "kept"}});
  table.add("length_norm", &length_norm,
            {.text = "tokens: divide log pi(a) by the tokens of a", .choices = {"none", "tokens"}});
  table.add(
      "closing_phrases", &closing_phrases,
      {.text = "phrases between commas that count as ending the conversation: watched, and judged by the judge closing",
       .allow_empty = true});
  judges.describe(table);
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
  table.add("trainable_layers", &train.trainable_layers,
            {.text = "-1: all; k: the last k layers and the heads; 0: heads only", .unit = "layers", .low = -1});
  table.add("checkpoint_every_rounds", &train.checkpoint_every_steps,
            {.text = "0: only at the end of a policy", .unit = "rounds", .low = 0});
}

void PolicyOptions::check() const {
  if (love_weights.empty())
    fail_input("policy.love_weights is empty", "no policy would be trained", "give at least one weight, such as 0.0");
  std::set<std::string> names;
  for (const double weight : love_weights) {
    if (!names.insert(policy_name(weight)).second)
      fail_input(concat("policy.love_weights holds ", weight, " twice"), "both would write the same folder",
                 "name each weight once");
    if (weight + helpfulness_weight + safety_weight <= 0)
      fail_input("all objectives have the weight 0", "there is nothing to rank responses by",
                 "give one of them a positive weight");
  }
  if (sampling.top_p <= 0)
    fail_input("policy.top_p = 0", "no token could be drawn",
               "use a value above 0, or policy.temperature = 0 for the likeliest token");
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
  std::int64_t bytes = text_memory_bytes(base) + inference_memory_bytes(config, options.train.micro_batch_tokens) +
                       cache_memory_bytes(config, options.generation(), data.max_tokens);
  for (const char* name : {"love", "helpfulness", "safety"})
    if (const std::string folder = context.directory.model(name); std::filesystem::exists(folder + "/config.json"))
      bytes += text_memory_bytes(folder) / 4 + weight_bytes(LlamaConfig::from_folder(folder));
  return bytes + judge_memory_bytes(options.judges);
}

std::int64_t policy_memory_bytes(const PolicyOptions& options, const DataOptions& data, const StageContext& context) {
  const LlamaConfig config = LlamaConfig::from_folder(starting_model(options.base, context));
  return generation_memory_bytes(options, data, context) +
         training_memory_bytes(config, options.train, context.grid.world.size());
}

std::string policy_name(double love_weight) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", love_weight);
  const std::string number = text;
  return "policy_w" + number + (number.find_first_of(".e") == std::string::npos ? ".0" : "");
}

}  // namespace rluf
