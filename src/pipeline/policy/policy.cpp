#include "rluf/pipeline/policy/policy.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/model/bad_steps.hpp"
#include "rluf/pipeline/alarms/gain_curve.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/judges/model_judges.hpp"
#include "rluf/pipeline/policy/baseline.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rluf/pipeline/policy/policy_to_train.hpp"
#include "rluf/pipeline/policy/task_settings.hpp"
#include "rluf/pipeline/policy/warm_up.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/pipeline/sft/sft.hpp"
#include "round_table.hpp"

namespace rluf {
namespace {

/// Everything that a policy's numbers depend on, by option name; what may change freely between two starts is left out.
nlohmann::json identity_of(PolicyOptions options, AlarmOptions alarms, const std::string& base, double love_weight,
                           std::uint64_t seed, std::size_t num_prompts) {
  options.judges.named = options.judges.used();
  OptionTable table;
  options.describe(table);
  nlohmann::json identity = {{"base", base}, {"love_weight", love_weight}, {"seed", seed}, {"prompts", num_prompts}};
  std::set<std::string> free = {"love_weights",    "base",           "checkpoint_every_rounds", "micro_batch_tokens",
                                "closing_phrases", "skip_bad_steps", "prompts_per_batch",       "prefill_tokens",
                                "cache_mebibytes"};
  if (options.judges.has("closing")) free.erase("closing_phrases");
  if (options.judges.has("refusal")) identity["refusal_phrases"] = alarms.refusal_phrases;
  for (const auto& entry : table.entries())
    if (entry.section != "policy")
      identity[entry.name()] = OptionTable::value_text(entry);
    else if (!free.contains(entry.key))
      identity[entry.key] = OptionTable::value_text(entry);
  if (alarms.enabled && alarms.action == "lower_love") {  // otherwise alarms change no number
    OptionTable watch;
    alarms.describe(watch);
    for (const auto& entry : watch.entries()) identity["alarms"][entry.key] = OptionTable::value_text(entry);
    identity["alarms"]["closing_phrases"] = options.closing_phrases;
  }
  return identity;
}

/// Gives prompts without a task the one that their words tell. @return the setting of each
/// @throws Error(kBadInput) for a setting that is of no prompt
std::vector<std::string> name_tasks(std::vector<Prompt>& prompts, const TaskSettings& settings,
                                    const PolicyOptions& options) {
  const TaskWords words(options.task_words);
  std::map<std::string, std::int64_t> counts;
  std::vector<std::string> names;
  for (Prompt& prompt : prompts) {
    if (prompt.constraints.task.empty() && !prompt.messages.empty())
      prompt.constraints.task = words.task_of(prompt.messages.back().content);
    names.push_back(settings.of(prompt.constraints.task));
    ++counts[names.back()];
  }
  for (const auto& [task, setting] : settings.all())
    if (task != "*" && counts[task] == 0)
      fail_input(concat("policy.task_settings names the task ", task, ", but no prompt is of it"),
                 "its settings would be those of nothing",
                 "check the field task of the prompts and policy.task_words, or leave it out");
  if (settings.share_rounds() && settings["*"].prompts == 0 && counts["*"] > 0)
    log_warning(concat(counts["*"], " of ", prompts.size(),
                       " prompts are of no task in policy.task_settings (the rounds have no place for them): give * "
                       "some prompts if they should be trained on"));
  return names;
}

/// The prompts that the rounds will visit, in the order of their ids; those without room for a response are left out.
std::vector<Prompt> visited_prompts(const PolicyOptions& options, const LlamaConfig& config,
                                    const StageContext& context, nlohmann::json& table,
                                    std::vector<std::size_t>& order) {
  std::vector<Prompt> all = read_prompts(context.directory.data("prompts.h5"), Split::kTrain, context.grid.world);
  const std::size_t num_read = all.size();
  const std::int64_t room = config.max_position_embeddings - options.max_new_tokens;
  std::erase_if(all, [&](const Prompt& prompt) {
    return prompt.tokens.empty() || static_cast<std::int64_t>(prompt.tokens.size()) > room;
  });
  table["prompts_read"] = num_read;
  table["prompts_too_long"] = num_read - all.size();
  if (all.size() < num_read)
    log_info(concat("policy: ", num_read - all.size(), " of ", num_read, " prompts leave no room for ",
                    options.max_new_tokens, " tokens within the model's ", config.max_position_embeddings,
                    " and are left out"));
  if (static_cast<std::int64_t>(all.size()) < options.prompts_per_round)
    fail_data(concat("there are ", all.size(), " training prompts for rounds of ", options.prompts_per_round),
              "a round would hold a prompt twice", "lower policy.prompts_per_round or give more data.prompts");
  const TaskSettings settings(options);
  const std::vector<std::string> tasks = name_tasks(all, settings, options);
  std::vector<std::int64_t> visits;
  for (std::int64_t round = 0; round < options.rounds; ++round)
    for (const std::int64_t i : round_prompts_of_tasks(tasks, settings, options, context.seed(), round))
      visits.push_back(i);
  const std::set<std::int64_t> distinct(visits.begin(), visits.end());
  const std::vector<std::int64_t> kept(distinct.begin(), distinct.end());
  std::vector<Prompt> prompts;
  for (const std::int64_t i : kept) prompts.push_back(all[static_cast<std::size_t>(i)]);
  for (const std::int64_t i : visits)
    order.push_back(static_cast<std::size_t>(std::lower_bound(kept.begin(), kept.end(), i) - kept.begin()));
  table["prompts_visited"] = prompts.size();
  return prompts;
}

/// Scores with a reward model, rendering the text by the model's own rules.
Objective model_objective(const RewardModel& reward, const std::string& name, double weight,
                          const PolicyOptions& options, const DataOptions& data, const Communicator& comm) {
  Objective objective{name, weight, {}, {}};
  objective.score = [&reward, &options, &data, &comm, name](const std::vector<PromptedResponse>& responses) {
    std::vector<Document> documents;
    guarded(comm, [&] {
      for (const PromptedResponse& response : responses)
        documents.push_back(
            render_document(response.prompt->messages, response.text, *reward.text, data.max_turns, data.max_tokens)
                .document);
    });
    return reward.scores(documents, options.train.micro_batch_tokens, comm, "policy " + name);
  };
  objective.probability = [&reward](double raw) { return calibrated_probability(raw, reward.calibration); };
  return objective;
}

/// The reward models that some weight needs, and the witnesses; love is also used for monitoring at weight 0 if it is
/// there.
std::map<std::string, RewardModel> load_reward_models(const PolicyOptions& options, const StageContext& context) {
  const double most_love = *std::max_element(options.love_weights.begin(), options.love_weights.end());
  const std::map<std::string, double> weights = {
      {"helpfulness", options.helpfulness_weight}, {"safety", options.safety_weight}, {"love", most_love}};
  const bool safety_judge = options.judges.has("safety");
  std::map<std::string, RewardModel> models;
  guarded(context.grid.world, [&] {
    for (const auto& [name, weight] : weights) {
      const std::string folder = context.directory.model(name);
      if (!std::filesystem::exists(folder + "/config.json")) {
        if (weight > 0 || (name == "safety" && safety_judge))
          fail_input(concat("the reward model ", folder, " is missing"),
                     concat("policy.", name, "_weight", name == "love" ? "s" : "",
                            name == "safety" ? " or the judge safety needs it" : " is above 0"),
                     "run the reward stage first");
        continue;
      }
      models.emplace(name, RewardModel::load(folder, context.model, context.device, context.layout()));
    }
    for (const std::string& folder : options.witnesses) {
      RewardModel witness = RewardModel::load(folder, context.model, context.device, context.layout());
      const std::string objective = witness.calibration.objective;
      if (!models.emplace(witness_name(objective), std::move(witness)).second)
        fail_input(concat("policy.witnesses names two models of ", objective), "their rewards would have the same name",
                   "name one for each objective");
    }
  });
  return models;
}

/// Trains one policy in place, from its newest checkpoint if there is one. `love_weight` is the one in
/// setting.objectives, which alarms may lower.
RoundTable train_policy(Llama& policy, const std::string& stage, const nlohmann::json& identity,
                        const RoundSetting& setting, double* love_weight, const AlarmOptions& alarms,
                        const std::vector<Prompt>& prompts, const std::vector<std::size_t>& order,
                        const std::vector<BaselineResponse>& baselines, const StageContext& context) {
  const PolicyOptions& options = setting.options;
  make_trainable(policy, options.train, setting.seed);
  AdamW optimizer(policy, options.train, setting.data);
  RoundTable rounds;
  BadSteps bad_steps(stage, options.train, context.directory);
  AlarmWatch watch(stage, alarms, options.rounds, setting.closing_phrases, context.directory);
  const double full_love_weight = love_weight == nullptr ? 0 : *love_weight;
  const auto describe = [&](StateArchive& archive) {
    optimizer.describe(archive);
    describe_weights(policy, archive);
    rounds.describe(archive);
    bad_steps.describe(archive);
    watch.describe(archive);
  };
  LoopCheckpoints checkpoints(
      context.directory, {stage, "round", options.rounds, options.train.checkpoint_every_steps, identity, describe},
      setting.data);
  optimizer.before_change([&] { checkpoints.state_will_change(); });
  std::int64_t round = checkpoints.first_step();
  Progress progress(stage, "rounds", options.rounds, round);
  while (round < options.rounds) {
    std::vector<const Prompt*> batch;
    std::vector<const BaselineResponse*> batch_baselines;
    for (std::int64_t i = round * options.prompts_per_round; i < (round + 1) * options.prompts_per_round; ++i) {
      batch.push_back(&prompts[order[static_cast<std::size_t>(i)]]);
      batch_baselines.push_back(&baselines[order[static_cast<std::size_t>(i)]]);
    }
    // Until its step is applied a round changes nothing, so one that is stopped is done again with the same result.
    RoundMetrics metrics;
    std::vector<WatchedPrompt> watched;
    if (love_weight != nullptr) *love_weight = full_love_weight * watch.love_factor();
    checkpoints.interruptible(round, [&] {
      metrics =
          policy_round(policy, optimizer, setting, batch, batch_baselines, round, alarms.enabled ? &watched : nullptr);
    });
    if (metrics.at("bad_steps") > 0) {
      std::vector<std::int64_t> ids;
      for (const Prompt* prompt : batch) ids.push_back(prompt->id);
      bad_steps.add(round, "the loss or the gradient norm is not finite, or above explosion_norm", ids, checkpoints);
    }
    ++round;
    rounds.add(metrics);
    context.directory.append_metrics(stage, round, metrics);
    char text[160];
    std::snprintf(
        text, sizeof text,
        "reward %.3f, KL %.2f, no survivor %.0f%%, log-probs of drawing and training %.1e apart (largest %.1e)",
        metrics.at("reward"), metrics.at("kl"), 100 * metrics.at("share_no_survivor"),
        metrics.at("log_prob_difference"), metrics.at("log_prob_difference_largest"));
    progress.update(round, text);
    bool alarm = false;
    guarded(setting.data, [&] { alarm = watch.add(round, std::move(watched)); });
    if (alarm && alarms.action == "stop") {
      checkpoints.finish(round);
      throw Error(ExitCode::kAlarm,
                  concat(stage, " was stopped by an alarm after round ", round, ", see ",
                         context.directory.table("alarms_" + stage),
                         " (its rewards may no longer mean what they did): lower policy.love_weights, add a judge, or "
                         "go on all the same with --alarms.action=report"));
    }
    checkpoints.after_step(round);
  }
  checkpoints.finish(round);
  policy.set_trainable_layers(-1);
  return rounds;
}

}  // namespace

void run_policy(const PolicyOptions& options, const AlarmOptions& alarms, const DataOptions& data,
                const StageContext& context) {
  options.check();
  const Communicator& comm = context.grid.world;
  std::optional<Llama> reference;
  std::unique_ptr<ModelText> text;
  std::string base;
  nlohmann::json table;
  guarded(comm, [&] { base = starting_model(options.base, context); });
  if (options.warm_up_steps > 0) base = warm_up(options, base, context, table["warm_up"]);
  guarded(comm, [&] {
    reference.emplace(Llama::load(base, context.device, 0, 0, context.layout()));
    reference->set_compute_type(compute_type(context.model));
    text = load_model_text(base, context.model);
  });
  std::vector<std::size_t> order;
  const auto prompts = visited_prompts(options, reference->config(), context, table, order);
  const auto rewards = load_reward_models(options, context);
  const MeasureContext measuring{options.train.micro_batch_tokens, data.max_turns, data.max_tokens, comm};
  const JudgeModels judge_models(options.judges, measuring, context);
  JudgeTools tools = judge_models.tools();
  tools.closing_phrases = options.closing_phrases;
  tools.refusal_phrases = alarms.refusal_phrases;
  const Judges judges = make_judges(options.judges, tools), watching = make_watching_judges(options.judges, tools);
  std::vector<const Constraints*> asked;
  for (const Prompt& prompt : prompts) asked.push_back(&prompt.constraints);
  check_judges_are_asked(judges, options.judges, asked);
  check_judges_are_asked(watching, options.judges, asked);
  std::set<std::string> tasks;
  for (const Constraints* constraints : asked)
    if (!constraints->task.empty()) tasks.insert(constraints->task);
  log_info(concat("policy: ", prompts.size(), " prompts, ", options.rounds, " rounds of ", options.prompts_per_round,
                  " prompts with ", options.num_samples, " responses for each of ", options.love_weights.size(),
                  " love weights, trained by ", options.optimizer));
  if (alarms.enabled && policy_optimizer(options.optimizer).draws_from_reference)
    log_warning(concat("policy.optimizer = ", options.optimizer,
                       " draws from the reference (rewards, closings and alarms of the rounds are those of its "
                       "responses, not of the policy's): judge the policy by the validate stage"));

  const auto decode = [&text](const TokenIds& ids) { return text->tokenizer.decode(ids); };
  // Drawn from the reference alone, so nothing of the weights or judges enters.
  nlohmann::json baseline_identity = {{"base", context.directory.portable(base)},
                                      {"seed", context.seed()},
                                      {"baseline", options.baseline},
                                      {"max_new_tokens", options.max_new_tokens},
                                      {"temperature", options.sampling.temperature},
                                      {"top_p", options.sampling.top_p},
                                      {"top_k", options.sampling.top_k},
                                      {"prompts", prompts.size()},
                                      {"rounds", options.rounds},
                                      {"prompts_per_round", options.prompts_per_round}};
  if (TaskSettings(options).share_rounds()) baseline_identity["task_settings"] = options.task_settings;
  if (options.warm_up_steps > 0)  // the folder keeps its name, whatever was trained
    baseline_identity["warm_up"] = {options.warm_up_steps, options.warm_up_batch, options.warm_up_learning_rate,
                                    options.dpo_beta};
  const std::string baseline_path = context.directory.data("baseline.jsonl.gz");
  std::vector<Sample> samples = read_baselines(baseline_path, baseline_identity, prompts, comm);
  if (samples.empty()) {
    samples = draw_baselines(*reference, prompts, options, text->chat.stop_ids(), context.seed(), comm);
    if (options.baseline == "preferred") {
      const std::int64_t found =
          use_preferred_answers(context.directory.data("helpfulness.h5"), prompts, samples, comm);
      log_info(concat("policy: ", found, " of ", prompts.size(),
                      " prompts have a preferred answer as baseline, the others one of the reference"));
    }
    std::vector<std::string> texts;
    for (const Sample& sample : samples) texts.push_back(decode(sample.tokens));
    write_baselines(baseline_path, baseline_identity, prompts, samples, texts, comm);
  }
  std::vector<BaselineResponse> baselines;
  std::vector<PromptedResponse> prompted;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    baselines.push_back({samples[i], decode(samples[i].tokens), {}});
    prompted.push_back({&prompts[i], baselines.back().text});
  }

  nlohmann::json policies = nlohmann::json::array();
  std::map<std::string, RewardScores> baseline_scores;
  for (const double love_weight : options.love_weights) {
    const std::string stage = policy_name(love_weight);
    std::vector<Objective> objectives;
    std::vector<std::pair<std::string, double>> weights{
        {"helpfulness", options.helpfulness_weight}, {"safety", options.safety_weight}, {"love", love_weight}};
    for (const char* objective : {"helpfulness", "safety", "love"}) weights.emplace_back(witness_name(objective), 0.0);
    for (const auto& [name, weight] : weights) {
      const auto found = rewards.find(name);
      if (found == rewards.end()) continue;
      objectives.push_back(model_objective(found->second, name, weight, options, data, comm));
      if (!baseline_scores.contains(name)) baseline_scores[name] = objectives.back().score(prompted);
    }
    for (std::size_t i = 0; i < baselines.size(); ++i) {
      baselines[i].scores.clear();
      for (const Objective& objective : objectives) {
        const RewardScores& scores = baseline_scores[objective.name];
        baselines[i].scores.push_back(scores.raw[i]);
        if (!scores.disagreement.empty()) baselines[i].disagreement[objective.name] = scores.disagreement[i];
      }
    }
    RoundSetting setting{options,
                         *reference,
                         objectives,
                         judges,
                         phrase_list(options.closing_phrases),
                         decode,
                         text->chat.stop_ids(),
                         context.seed(),
                         comm,
                         {tasks.begin(), tasks.end()}};
    setting.watching = &watching;
    Llama policy = policy_to_train(*reference, options.train);
    double* lowered = nullptr;
    for (Objective& objective : objectives)
      if (objective.name == "love") lowered = &objective.weight;
    const RoundTable rounds =
        train_policy(policy, stage, identity_of(options, alarms, base, love_weight, context.seed(), prompts.size()),
                     setting, lowered, alarms, prompts, order, baselines, context);
    const std::string folder = context.directory.model(stage);
    guarded(comm, [&] { policy.save(folder, text->tokenizer.path(), context.model.save_dtype); });
    rounds.log(stage);
    policies.push_back({{"love_weight", love_weight}, {"name", stage}, {"rounds", rounds.json()}});
    policies.back()["gain_curves"] = gain_curves(policies.back()["rounds"]);
    for (const nlohmann::json& curve : policies.back()["gain_curves"])
      log_info(concat(stage, " gain of ", curve.at("objective").get<std::string>(), ": ",
                      curve.at("sentence").get<std::string>()));
  }
  table["policies"] = policies;
  table["optimizer"] = options.optimizer;
  table["weights_apply_to"] = options.weights_apply_to;
  table["weights"] = {{"helpfulness", options.helpfulness_weight}, {"safety", options.safety_weight}};
  table["normalize_weights"] = options.normalize_weights;
  table["kl_max"] = options.kl_max;
  table["judges"] = options.judges.names;
  table["watching_judges"] = options.judges.watching;
  table["tasks"] = tasks;
  table["task_settings"] = options.task_settings;
  table["judge_thresholds"] = tools.thresholds;  // the fitted ones
  table["baseline"] = options.baseline;
  guarded(comm, [&] { context.directory.write_table("policy", table); });
}

}  // namespace rluf
