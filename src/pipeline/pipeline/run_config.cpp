#include "rluf/pipeline/pipeline/run_config.hpp"

#include <algorithm>

#include "rluf/pipeline/dataset/build_dataset.hpp"
#include "rluf/pipeline/evaluation/audit.hpp"
#include "rluf/pipeline/report/report.hpp"
#include "rluf/pipeline/signals/compare_signals.hpp"

namespace rluf {

void RunOptions::describe(OptionTable& table) {
  table.section("run", "The run as a whole.");
  table.add("directory", &directory, {.text = "everything that the run makes goes here"});
  table.add("simulate", &simulate,
            {.text = "begin with a simulated chat world; empty data.* options point to its files"});
  table.add("seed", &seed, {.text = "of all random choices: same seed, same result", .low = 0});
  table.add(
      "reproducible", &reproducible,
      {.text = "losses, weights and samples have the same bits on any number of ranks (with equal threads a rank); "
               "false: gradients are added in float32 in whatever order. It costs less than 2 % of a step on a CPU, "
               "and gradients travel between ranks in 64 bits"});
  table.add("keep_last", &checkpoints.keep_last,
            {.text = "newest checkpoints of a stage that stay", .unit = "checkpoints", .low = 1, .high = 1e6});
  table.add("keep_every", &checkpoints.keep_every,
            {.text = "checkpoints whose step is a multiple of this stay too; 0: none", .unit = "steps", .low = 0});
  table.add("restart", &restart,
            {.text = "auto: go on from the newest whole checkpoints, or begin; latest: the same, but there must be "
                     "one; none: begin again; a step, or a checkpoint file: go on from there. What is not used is set "
                     "aside below checkpoints/"});
  table.add("checkpoint_writes", &checkpoint_writes,
            {.text = "background: training goes on while a copy in memory is written; immediate: it waits",
             .choices = {"background", "immediate"}});
  table.add("metrics", &metrics,
            {.text = "forms of the metrics besides metrics.csv: metrics.jsonl, an object a step; event files for "
                     "TensorBoard below tensorboard/",
             .choices = {"jsonl", "tensorboard"},
             .allow_empty = true});
  table.add("walltime_minutes", &walltime_minutes,
            {.text = "time that the job has from its start; it stops with a checkpoint before. 0: what Slurm says "
                     "(SLURM_JOB_END_TIME), else no limit",
             .unit = "minutes",
             .low = 0});
  table.add(
      "walltime_margin_seconds", &walltime_margin_seconds,
      {.text = "left at the end of the job's time, besides a step and a checkpoint", .unit = "seconds", .low = 0});
  table.add("device", &device, {.text = "auto: a GPU where there is one", .choices = {"auto", "cpu", "cuda"}});
  table.add("threads", &threads,
            {.text = "a rank; 0: cores of the node divided by its ranks", .unit = "threads", .low = 0, .high = 4096});
  table.add(
      "watchdog_seconds", &watchdog_seconds,
      {.text = "a rank without progress for so long ends the job with a message; 0: off", .unit = "seconds", .low = 0});
}

OptionTable RunConfig::table() {
  OptionTable table;
  run.describe(table);
  parallel.describe(table);
  model.describe(table);
  simulate.describe(table);
  signals.describe(table);
  data.describe(table);
  sft.describe(table);
  reward.describe(table);
  evaluate.describe(table);
  policy.describe(table);
  alarms.describe(table);
  validate.describe(table);
  guardrails.describe(table);
  sweep.describe(table);
  abtest.describe(table);
  plan_ab.describe(table);
  plan.describe(table);
  return table;
}

void RunConfig::complete() {
  run.checkpoints.background = run.checkpoint_writes == "background";
  for (TrainOptions* train :
       {&sft.train, &reward.love.train, &reward.helpfulness.train, &reward.safety.train, &policy.train})
    train->reproducible = run.reproducible;
  if (run.simulate) {
    const std::string world = run.directory + "/world/";
    const auto fill = [&](std::string& option, const char* file) {
      if (option.empty()) option = world + file;
    };
    fill(model.base, "base");
    fill(data.interactions, "interactions.jsonl.gz");
    fill(data.helpfulness_pairs, "helpfulness_pairs.jsonl.gz");
    fill(data.safety_pairs, "safety_pairs.jsonl.gz");
    fill(data.prompts, "prompts.jsonl.gz");
    fill(data.sft, "sft.jsonl.gz");
    fill(data.candidates, "candidates");
    fill(data.online, "online.json");
  }
}

std::vector<Stage> make_stages(const RunConfig& config) {
  std::vector<Stage> stages;
  if (config.run.simulate)
    stages.push_back({"simulate",
                      "make a small chat world with known truth",
                      "world/",
                      {"simulate"},
                      {},
                      {"world"},
                      [&](const StageContext& context) { run_simulate(config.simulate, context); },
                      [&](const StageContext&) { return simulate_memory_bytes(config.simulate); }});
  const auto log = [&] { return SignalInput{config.data.interactions, config.data.user_key, config.data.max_rows}; };
  if (config.signals.enabled)
    stages.push_back({"signals",
                      "which signal to learn from",
                      "tables/signals.json",
                      {"signals", "data"},
                      {},
                      {"data/signals.json"},
                      [=, &config](const StageContext& context) { run_signals(config.signals, log(), context); },
                      [=](const StageContext& context) { return signals_memory_bytes(log(), context); }});
  stages.push_back({"dataset",
                    "log lines to HDF5, every row accounted for",
                    "tables/dataset.json",
                    {"data", "model"},
                    {},
                    {"data/love.h5", "data/prompts.h5", "data/helpfulness.h5", "data/safety.h5", "data/sft.h5"},
                    [&](const StageContext& context) { run_dataset(config.data, context); },
                    dataset_memory_bytes});
  stages.push_back({"sft",
                    "the reference policy",
                    "models/reference",
                    {"sft"},
                    {"sft"},
                    {"models/reference"},
                    [&](const StageContext& context) { run_sft(config.sft, config.data, context); },
                    [&](const StageContext& context) { return sft_memory_bytes(config.sft, config.data, context); }});
  stages.push_back({"reward",
                    "P[Love], helpfulness and safety models",
                    "models/love",
                    {"reward", "love", "helpfulness", "safety"},
                    {"love", "helpfulness", "safety"},
                    {"models/love", "models/helpfulness", "models/safety"},
                    [&](const StageContext& context) { run_reward(config.reward, config.data, context); },
                    [&](const StageContext& context) { return reward_memory_bytes(config.reward, context); }});
  stages.push_back({"evaluate",
                    "candidates ranked offline by P[Love]",
                    "tables/evaluation.json",
                    {"evaluate", "alarms"},
                    {},
                    {},
                    [&](const StageContext& context) {
                      run_audit(config.evaluate, config.alarms, context);
                      run_evaluate(config.evaluate, config.alarms, config.data, context);
                    },
                    [&](const StageContext& context) {
                      return std::max(audit_memory_bytes(config.evaluate, context),
                                      evaluate_memory_bytes(config.evaluate, config.data, context));
                    }});
  stages.push_back(
      {"policy",
       "CRRAFT or another optimizer with a mixture of judges, once for each love weight",
       "models/policy_w*",
       {"policy", "judge.NAME", "alarms"},
       {"policy_w"},
       {},
       [&](const StageContext& context) { run_policy(config.policy, config.alarms, config.data, context); },
       [&](const StageContext& context) { return policy_memory_bytes(config.policy, config.data, context); }});
  stages.push_back(
      {"validate",
       "policies and reference side by side, with an A/B test in a simulated world",
       "tables/validation.json",
       {"validate", "alarms"},
       {},
       {},
       [&](const StageContext& context) {
         run_validate(config.validate, config.policy, config.alarms, config.data, context);
       },
       [&](const StageContext& context) { return generation_memory_bytes(config.policy, config.data, context); }});
  stages.push_back({"report",
                    "report.html, and which policy to ship",
                    "report.html",
                    {"guardrails"},
                    {},
                    {},
                    [&](const StageContext& context) { run_report(config.guardrails, context); }});
  return stages;
}

}  // namespace rluf
