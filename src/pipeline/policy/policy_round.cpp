#include "rluf/pipeline/policy/policy_round.hpp"

#include <algorithm>
#include <cmath>

#include "log_prob_difference.hpp"
#include "rluf/core/error.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rluf/pipeline/policy/task_settings.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"
#include "round_metrics.hpp"

namespace rluf {
namespace {

/// Settings without a prompt in this round are left out.
std::vector<TaskFacts> group_by_task(const RoundSetting& setting, const std::vector<const Prompt*>& prompts) {
  std::vector<TaskFacts> tasks;
  for (const auto& [name, own] : setting.task_settings.all()) {
    TaskFacts task{own.applied_to(setting.options),
                   own.weight,
                   objective_weights(setting.objectives, own, setting.options.normalize_weights),
                   {},
                   {}};
    task.facts.num_samples = static_cast<std::size_t>(own.num_samples);
    for (std::size_t i = 0; i < prompts.size(); ++i)
      if (setting.task_settings.of(prompts[i]->constraints.task) == name) task.prompts.push_back(i);
    if (!task.prompts.empty()) tasks.push_back(std::move(task));
  }
  return tasks;
}

std::vector<std::int64_t> samples_asked(const std::vector<TaskFacts>& tasks, std::size_t num_prompts) {
  std::vector<std::int64_t> counts(num_prompts);
  for (const TaskFacts& task : tasks)
    for (const std::size_t i : task.prompts) counts[i] = task.options.num_samples;
  return counts;
}

void check_scores(const std::vector<double>& scores, const std::string& objective) {
  for (const double score : scores)
    if (!std::isfinite(score))
      fail_data(concat("the ", objective, " model gave the score ", score), "responses cannot be ranked by it",
                concat("train the ", objective, " model again with a lower learning rate"));
}

JudgedResponse judged(const RoundSetting& setting, const Prompt& prompt, const Sample& sample, const std::string& text,
                      const std::vector<double>& scores, const BaselineResponse& baseline) {
  JudgedResponse response{
      &prompt.messages,   text, sample.finished, static_cast<std::int64_t>(sample.tokens.size()), {}, {},
      &prompt.constraints};
  for (std::size_t o = 0; o < setting.objectives.size(); ++o) {
    if (setting.objectives[o].name != "safety") continue;
    response.safety_relative = calibrated_reward(scores[o], baseline.scores[o]);
    if (setting.objectives[o].probability) response.safety_probability = setting.objectives[o].probability(scores[o]);
  }
  return response;
}

/// log pi_t - log pi_ref of a_bar where the KL cap asks for it: only prompts without a survivor matter, and which those
/// are is known to all ranks. @collective
void add_baseline_log_ratios(const Llama& policy, const RoundSetting& setting,
                             const std::vector<const Prompt*>& prompts,
                             const std::vector<const BaselineResponse*>& baselines, std::vector<TaskFacts>& tasks) {
  std::vector<Document> documents;
  std::vector<CandidateFacts*> needed;
  for (TaskFacts& task : tasks)
    for (std::size_t j = 0; j < task.prompts.size(); ++j) {
      if (!task.facts.baselines[j].satisfied || num_survivors(task.facts.of_prompt(j), task.options) > 0) continue;
      const std::size_t i = task.prompts[j];
      documents.push_back(join(prompts[i]->tokens, baselines[i]->sample.tokens));
      needed.push_back(&task.facts.baselines[j]);
    }
  if (needed.empty()) return;
  const std::int64_t tokens = setting.options.train.micro_batch_tokens;
  const auto now = response_log_probs(policy, documents, tokens, setting.data, "policy KL");
  const auto before = response_log_probs(setting.reference, documents, tokens, setting.data, "policy KL");
  for (std::size_t i = 0; i < needed.size(); ++i) needed[i]->log_ratio = now[i] - before[i];
}

/// Terms with their documents. Only what the policy itself drew is compared with the training pass.
std::vector<TrainedTerm> with_documents(const std::vector<Term>& terms, const Rollout& rollout,
                                        const std::vector<const Prompt*>& prompts,
                                        const std::vector<const BaselineResponse*>& baselines) {
  std::vector<TrainedTerm> trained;
  for (const Term& term : terms) {
    const auto i = static_cast<std::size_t>(term.prompt);
    trained.push_back({term.weight, term.scale, {}, {}});
    for (const std::int64_t response : {term.response, term.rejected}) {
      if (response == kNoResponse) continue;
      const bool is_candidate = response != kBaselineResponse;
      const std::size_t k = rollout.first[i] + static_cast<std::size_t>(is_candidate ? response : 0);
      trained.back().documents.push_back(is_candidate ? rollout.documents[k]
                                                      : join(prompts[i]->tokens, baselines[i]->sample.tokens));
      trained.back().drawn.push_back(is_candidate ? &rollout.samples[k] : nullptr);
    }
  }
  return trained;
}

/// The optimizer steps of a round. @collective
void train_on(const std::vector<TrainedTerm>& terms, double divisor, Llama& policy, AdamW& optimizer,
              const RoundSetting& setting, std::int64_t round, RoundMetrics& metrics) {
  const PolicyOptions& options = setting.options;
  const PolicyOptimizer& method = policy_optimizer(options.optimizer);
  std::vector<std::int64_t> lengths;
  std::vector<const Sample*> drawn;
  for (const TrainedTerm& term : terms) {
    lengths.push_back(term.num_tokens());
    for (const Sample* sample : term.drawn) drawn.push_back(method.draws_from_reference ? nullptr : sample);
  }
  const std::int64_t num_steps = options.rounds * options.steps_per_round;
  metrics["loss"] = metrics["grad_norm"] = metrics["learning_rate"] = metrics["bad_steps"] = 0;
  LogProbDifference difference(std::move(drawn));
  if (!terms.empty()) {
    std::vector<std::vector<std::int64_t>> micro_batches;
    for (const PackRange& range : pack_ranges(lengths, options.train.micro_batch_tokens)) {
      micro_batches.emplace_back();
      for (std::int64_t i = range.first; i < range.last; ++i) micro_batches.back().push_back(i);
    }
    for (std::int64_t s = 0; s < options.steps_per_round; ++s) {
      const double rate = learning_rate_at(options.train, round * options.steps_per_round + s, num_steps);
      // Only the first step's pass is of the policy that drew.
      const LogProbObserver see = [&](std::size_t document, std::span<const float> log_probs) {
        if (s == 0) difference.see(document, log_probs);
      };
      const StepResult step = train_step(policy, optimizer, micro_batches, divisor, rate,
                                         term_loss(method.form, terms, options, setting.reference, see), setting.data);
      if (!step.complaint.empty()) {
        metrics["bad_steps"] += 1;
        continue;
      }
      metrics["loss"] = step.loss;
      metrics["grad_norm"] = step.grad_norm;
      metrics["learning_rate"] = rate;
    }
  }
  difference.reduce(setting.data);
  metrics["log_prob_difference"] = difference.mean();
  metrics["log_prob_difference_largest"] = difference.largest();
}

/// Of the candidates. @shape [num_responses][num_objectives]
struct Rewards {
  std::vector<std::vector<double>> raw, calibrated;
  std::map<std::string, std::vector<double>> disagreement = {};  ///< [num_responses], of objectives with several heads
};

/// @collective
Rewards score(const Rollout& rollout, const RoundSetting& setting,
              const std::vector<const BaselineResponse*>& baselines, RoundMetrics& metrics) {
  const std::size_t num_objectives = setting.objectives.size(), num_responses = rollout.samples.size();
  Rewards rewards{{num_responses, std::vector<double>(num_objectives)}, {}};
  rewards.calibrated = rewards.raw;
  for (std::size_t o = 0; o < num_objectives; ++o) {
    const Objective& objective = setting.objectives[o];
    const RewardScores scores = objective.score(rollout.responses);
    const std::vector<double>& raw = scores.raw;
    check_scores(raw, objective.name);
    if (!scores.disagreement.empty()) {
      metrics["disagreement_" + objective.name] = mean(scores.disagreement);
      rewards.disagreement[objective.name] = scores.disagreement;
    }
    std::vector<double> calibrated, probabilities, gains;
    for (std::size_t i = 0; i < baselines.size(); ++i)
      for (std::size_t k = rollout.first[i]; k < rollout.first[i + 1]; ++k) {
        rewards.raw[k][o] = raw[k];
        rewards.calibrated[k][o] = calibrated_reward(raw[k], baselines[i]->scores[o]);
        calibrated.push_back(rewards.calibrated[k][o]);
        gains.push_back(raw[k] - baselines[i]->scores[o]);
        if (objective.probability) probabilities.push_back(objective.probability(raw[k]));
      }
    metrics["score_" + objective.name] = mean(raw);
    metrics["reward_" + objective.name] = mean(calibrated);
    metrics["gain_" + objective.name] = mean(gains);
    if (objective.probability) metrics["probability_" + objective.name] = mean(probabilities);
  }
  return rewards;
}

/// The candidates, then the baseline responses.
std::vector<JudgedResponse> judged_responses(const Rollout& rollout, const Rewards& rewards,
                                             const RoundSetting& setting, const std::vector<const Prompt*>& prompts,
                                             const std::vector<const BaselineResponse*>& baselines) {
  std::vector<JudgedResponse> responses;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (std::size_t k = rollout.first[i]; k < rollout.first[i + 1]; ++k)
      responses.push_back(
          judged(setting, *prompts[i], rollout.samples[k], rollout.responses[k].text, rewards.raw[k], *baselines[i]));
  for (std::size_t i = 0; i < prompts.size(); ++i)
    responses.push_back(
        judged(setting, *prompts[i], baselines[i]->sample, baselines[i]->text, baselines[i]->scores, *baselines[i]));
  return responses;
}

void add_facts(TaskFacts& task, const Rollout& rollout, const Rewards& rewards,
               const std::vector<JudgeOutcome>& outcomes) {
  const std::vector<double> baseline_rewards(task.objective_weights.size(), task.options.baseline_weight);
  const double baseline_reward = combined_reward(baseline_rewards, task.objective_weights);
  for (const std::size_t i : task.prompts) {
    for (std::size_t k = rollout.first[i]; k < rollout.first[i + 1]; ++k) {
      task.facts.candidates.push_back({outcomes[k].satisfied, rollout.log_ratios[k],
                                       combined_reward(rewards.calibrated[k], task.objective_weights)});
      task.facts.objective_rewards.push_back(rewards.calibrated[k]);
    }
    task.facts.baselines.push_back({outcomes[rollout.samples.size() + i].satisfied, 0.0, baseline_reward});
  }
}

/// What the watching judges say of a response that the others have judged.
void add_bypasses(const Judges& watching, const JudgeOutcome& chosen_by, const JudgeOutcome& watched,
                  const std::function<void(const std::string&, double)>& add) {
  for (std::size_t j = 0; j < watching.size(); ++j)
    add("bypass_" + watching[j]->name(), chosen_by.satisfied && watched.verdicts[j] == Verdict::kViolated ? 1.0 : 0.0);
}

/// `outcomes`, `watching`: of the candidates, then of the baseline responses.
std::vector<WatchedPrompt> watch(const Rollout& rollout, const Rewards& rewards, const RoundSetting& setting,
                                 const std::vector<const BaselineResponse*>& baselines,
                                 const std::vector<JudgeOutcome>& outcomes, const std::vector<JudgeOutcome>& watching) {
  constexpr double kReferenceReward = 0.5;
  std::vector<WatchedPrompt> watched;
  for (std::size_t i = 0; i < baselines.size(); ++i) {
    WatchedPrompt& prompt = watched.emplace_back(WatchedPrompt{{baselines[i]->text}, {}, {}});
    for (const auto& [name, value] : baselines[i]->disagreement)
      prompt.before_measures["disagreement_" + name] = {value};
    const std::size_t b = rollout.samples.size() + i;
    if (setting.watching != nullptr)
      add_bypasses(*setting.watching, outcomes[b], watching[b],
                   [&](const std::string& name, double value) { prompt.before_measures[name] = {value}; });
    for (std::size_t k = rollout.first[i]; k < rollout.first[i + 1]; ++k) {
      WatchedResponse& response = prompt.after.emplace_back(WatchedResponse{rollout.responses[k].text, {}, {}});
      for (const auto& [name, values] : rewards.disagreement) response.measures["disagreement_" + name] = values[k];
      if (setting.watching != nullptr)
        add_bypasses(*setting.watching, outcomes[k], watching[k],
                     [&](const std::string& name, double value) { response.measures[name] = value; });
      for (std::size_t o = 0; o < setting.objectives.size(); ++o) {
        const std::string& name = setting.objectives[o].name;
        response.rewards[name] = rewards.calibrated[k][o];
        if (!name.starts_with(witness_name(""))) continue;
        response.measures[name] = kReferenceReward - rewards.calibrated[k][o];
        prompt.before_measures[name] = {0.0};
      }
    }
  }
  return watched;
}

/// The terms of all tasks, with positions in the round.
RoundTerms choose_terms(const std::vector<TaskFacts>& tasks) {
  std::vector<RoundTerms> of_tasks;
  std::vector<double> weights;
  for (const TaskFacts& task : tasks) {
    of_tasks.push_back(round_terms(task.facts, task.options, task.objective_weights));
    for (Term& term : of_tasks.back().terms)
      term.prompt = static_cast<std::int64_t>(task.prompts[static_cast<std::size_t>(term.prompt)]);
    weights.push_back(task.weight);
  }
  return terms_of_tasks(of_tasks, weights);
}

}  // namespace

std::vector<double> objective_weights(const std::vector<Objective>& objectives, const TaskSetting& task,
                                      bool normalize) {
  std::vector<double> weights;
  for (const Objective& objective : objectives) weights.push_back(objective.weight * task.factor(objective.name));
  return normalize ? normalized_weights(weights) : weights;
}

RoundMetrics policy_round(Llama& policy, AdamW& optimizer, const RoundSetting& setting,
                          const std::vector<const Prompt*>& prompts,
                          const std::vector<const BaselineResponse*>& baselines, std::int64_t round,
                          std::vector<WatchedPrompt>* watched) {
  RLUF_ASSERT(baselines.size() == prompts.size());
  RoundMetrics metrics;
  PhaseTimes times;
  std::vector<TaskFacts> tasks = group_by_task(setting, prompts);

  Rollout rollout = draw_rollout(policy, setting, prompts, samples_asked(tasks, prompts.size()), round);
  times.end("generation", metrics);

  add_log_ratios(rollout, policy, setting);
  const Rewards rewards = score(rollout, setting, baselines, metrics);
  times.end("scoring", metrics);

  // From here to the terms every rank computes the same from the same numbers.
  const std::vector<JudgedResponse> responses = judged_responses(rollout, rewards, setting, prompts, baselines);
  const std::vector<JudgeOutcome> outcomes = judge_responses(setting.judges, responses);
  std::vector<JudgeOutcome> watching;
  if (setting.watching != nullptr) watching = judge_responses(*setting.watching, responses);
  for (TaskFacts& task : tasks) add_facts(task, rollout, rewards, outcomes);
  if (setting.options.optimizer == "crraft" && setting.options.baseline_kl_check)
    add_baseline_log_ratios(policy, setting, prompts, baselines, tasks);
  const RoundTerms chosen = choose_terms(tasks);
  add_reward_metrics(tasks, rollout, std::span(outcomes).first(rollout.samples.size()), setting, prompts, metrics);
  if (setting.watching != nullptr)
    add_judge_metrics(*setting.watching, std::span(watching).first(rollout.samples.size()), "", metrics);
  add_term_metrics(tasks, chosen, metrics);
  add_text_metrics(rollout, setting, metrics);
  if (watched != nullptr) *watched = watch(rollout, rewards, setting, baselines, outcomes, watching);
  times.end("judging", metrics);

  train_on(with_documents(chosen.terms, rollout, prompts, baselines), chosen.divisor, policy, optimizer, setting, round,
           metrics);
  times.end("training", metrics);
  times.add_idle(setting.data, metrics);
  return metrics;
}

}  // namespace rluf
