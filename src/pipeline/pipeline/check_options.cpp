// Options that are each in range but contradict one another are found before anything is read or made.
#include <algorithm>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/pipeline/run_config.hpp"

namespace rluf {
namespace {

[[noreturn]] void fail_room(const char* option, std::int64_t max_new_tokens, std::int64_t max_tokens) {
  fail_input(concat(option, " = ", max_new_tokens, " leaves no room in data.max_tokens = ", max_tokens),
             "prompt and response share the context", "lower the first or raise the second");
}

/// What a whole run would miss hours later: data for a model that a later stage wants.
void check_sources(const RunConfig& config) {
  const DataOptions& data = config.data;
  const PolicyOptions& policy = config.policy;
  if (data.interactions.empty() && data.helpfulness_pairs.empty() && data.safety_pairs.empty())
    fail_input("no data: data.interactions, data.helpfulness_pairs and data.safety_pairs are empty",
               "there is nothing to learn from", "set them, or run.simulate = true");
  const auto is_trained = [&](const std::string& objective, const std::string& source) {
    return !source.empty() && (config.reward.objective == "all" || config.reward.objective == objective);
  };
  const auto need = [&](bool trained, const std::string& who, const std::string& objective, const char* source) {
    if (!trained)
      fail_input(concat(who, " needs the ", objective, " model"),
                 concat("without data.", source, ", or with reward.objective = ", config.reward.objective,
                        ", it will not be there"),
                 concat("set data.", source, ", or change that option, or run the stages one by one"));
  };
  const bool love = is_trained("love", data.interactions), safety = is_trained("safety", data.safety_pairs);
  const double most_love = *std::max_element(policy.love_weights.begin(), policy.love_weights.end());
  if (most_love > 0) need(love, concat("policy.love_weights = ", most_love), "love", "interactions");
  if (policy.helpfulness_weight > 0)
    need(is_trained("helpfulness", data.helpfulness_pairs),
         concat("policy.helpfulness_weight = ", policy.helpfulness_weight), "helpfulness", "helpfulness_pairs");
  if (policy.safety_weight > 0)
    need(safety, concat("policy.safety_weight = ", policy.safety_weight), "safety", "safety_pairs");
  if (policy.judges.has("safety")) need(safety, "the judge safety of policy.judges", "safety", "safety_pairs");
  if (policy.baseline == "preferred" && data.helpfulness_pairs.empty())
    fail_input("policy.baseline = preferred without data.helpfulness_pairs", "the preferred answers come from there",
               "set data.helpfulness_pairs, or policy.baseline = reference");
  if (data.prompts.empty())
    fail_input("data.prompts is empty", "policies have nothing to answer", "set it, or run the stages one by one");
  if (!data.candidates.empty() && config.evaluate.love_model.empty())
    need(love, "the evaluation of data.candidates", "love", "interactions");
}

void check_adapters(const char* section, const TrainOptions& train) {
  if (train.lora_rank > 0 && train.trainable_layers == 0)
    fail_input(concat(section, ".lora_rank = ", train.lora_rank, " with ", section, ".trainable_layers = 0"),
               "adapters stand beside the matrices of trained layers",
               concat("set ", section, ".trainable_layers = -1, or ", section, ".lora_rank = 0"));
}

}  // namespace

void RunConfig::check(const std::string& command) const {
  const auto runs = [&](const char* stage) { return command == "run" || command == stage; };
  if (runs("simulate") && run.simulate) simulate.check();
  if (runs("evaluate") && !data.online.empty() && data.candidates.empty())
    fail_input("data.online is given without data.candidates", "there is nothing to compare it with",
               "set data.candidates, or leave data.online out");
  if (runs("evaluate") && !evaluate.log.arm_field.empty() && data.interactions.empty())
    fail_input("evaluate.arm_field is given without data.interactions", "the arms are valued from that log",
               "set data.interactions, or leave evaluate.arm_field out");
  if (runs("evaluate") && !evaluate.log.policies.empty() && evaluate.log.arm_field.empty())
    fail_input("evaluate.policies is given without evaluate.arm_field", "the log would not be looked at",
               "set evaluate.arm_field to the field that names the model that served a row");
  parallel.check(run.reproducible);
  check_adapters("sft", sft.train);
  check_adapters("love", reward.love.train);
  check_adapters("helpfulness", reward.helpfulness.train);
  check_adapters("safety", reward.safety.train);
  check_adapters("policy", policy.train);
  if (runs("reward")) reward.love.check_also(data.signal);
  if (runs("policy")) policy.check();
  if ((runs("policy") || command == "generate") && policy.max_new_tokens >= data.max_tokens)
    fail_room("policy.max_new_tokens", policy.max_new_tokens, data.max_tokens);
  if (runs("validate") && validate.max_new_tokens >= data.max_tokens)
    fail_room("validate.max_new_tokens", validate.max_new_tokens, data.max_tokens);
  if (command == "signals" && (!signals.enabled || data.interactions.empty()))
    fail_input(signals.enabled ? "data.interactions is empty" : "signals.enabled = false",
               "there is nothing to compare", "set it, or leave the command out");
  if (command == "run" && !signals.enabled && (data.signal == "auto" || data.reactors != "keep"))
    fail_input(concat(data.signal == "auto" ? "data.signal = auto" : "data.reactors = " + data.reactors,
                      " with signals.enabled = false"),
               "the stage signals finds the signal and the users", "set signals.enabled = true, or change that option");
  if (command == "run") check_sources(*this);
}

}  // namespace rluf
