#include "rluf/pipeline/policy/policy_round.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "log_prob_difference.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"

namespace rluf {
namespace {

/// All responses of a round, prompt by prompt: candidate k of prompt i is at i * num_samples + k.
struct Rollout {
  std::vector<Sample> samples;
  std::vector<Document> documents;
  std::vector<PromptedResponse> responses;
  std::vector<double> log_ratios;
};

Document join(const TokenIds& prompt, const TokenIds& response) {
  Document document{prompt, static_cast<std::int64_t>(prompt.size())};
  document.tokens.insert(document.tokens.end(), response.begin(), response.end());
  return document;
}

Rollout draw(const Llama& model, const RoundSetting& setting, const std::vector<const Prompt*>& prompts,
             std::int64_t round) {
  GenerationOptions generation = setting.options.generation();
  generation.stop_ids = setting.stop_ids;
  generation.seed = setting.seed;
  generation.round = static_cast<std::uint64_t>(round) + 1;  // 0 drew the baseline responses
  std::vector<TokenIds> tokens;
  std::vector<std::int64_t> ids;
  for (const Prompt* prompt : prompts) {
    tokens.push_back(prompt->tokens);
    ids.push_back(prompt->id);
  }
  Rollout rollout;
  auto drawn = generate_over_ranks(model, tokens, ids, generation, setting.data);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    for (Sample& sample : drawn[i]) {
      rollout.documents.push_back(join(prompts[i]->tokens, sample.tokens));
      rollout.responses.push_back({prompts[i], setting.decode(sample.tokens)});
      rollout.samples.push_back(std::move(sample));
    }
  }
  return rollout;
}

double sum_log_probs(const Sample& sample) {
  double sum = 0;
  for (const float value : sample.log_probs) sum += value;
  return sum;
}

/// log pi_t - log pi_ref of every candidate; pi_t is the policy, which has drawn it or not.
std::vector<double> log_ratios(const Rollout& rollout, const Llama& policy, bool drawn_by_policy,
                               const RoundSetting& setting) {
  const auto log_probs = [&](const Llama& model) {
    return response_log_probs(model, rollout.documents, setting.options.train.micro_batch_tokens, setting.data,
                              "policy KL");
  };
  const std::vector<double> reference = log_probs(setting.reference);
  std::vector<double> ratios;
  if (!drawn_by_policy) ratios = log_probs(policy);
  for (std::size_t i = 0; i < reference.size(); ++i) {
    if (drawn_by_policy) ratios.push_back(sum_log_probs(rollout.samples[i]));
    ratios[i] -= reference[i];
    if (!std::isfinite(ratios[i]))
      fail_data(concat("the log-ratio of a response to prompt ", rollout.responses[i].prompt->id, " is ", ratios[i]),
                "the KL cap cannot be applied", "lower policy.learning_rate, and check the models");
  }
  return ratios;
}

void check_scores(const std::vector<double>& scores, const std::string& objective) {
  for (const double score : scores)
    if (!std::isfinite(score))
      fail_data(concat("the ", objective, " model gave the score ", score), "responses cannot be ranked by it",
                concat("train the ", objective, " model again with a lower learning rate"));
}

/// Shares of verdicts by judge, as violated_JUDGE and the like with `suffix`; what is missing to one was not asked. 0
/// without responses.
void add_judge_metrics(const Judges& judges, std::span<const JudgeOutcome> outcomes, const std::string& suffix,
                       RoundMetrics& metrics) {
  for (std::size_t j = 0; j < judges.size(); ++j) {
    const auto share = [&](Verdict verdict) {
      const auto count = std::count_if(outcomes.begin(), outcomes.end(),
                                       [&](const JudgeOutcome& outcome) { return outcome.verdicts[j] == verdict; });
      return outcomes.empty() ? 0.0 : static_cast<double>(count) / static_cast<double>(outcomes.size());
    };
    metrics["satisfied_" + judges[j]->name() + suffix] = share(Verdict::kSatisfied);
    metrics["violated_" + judges[j]->name() + suffix] = share(Verdict::kViolated);
    metrics["failed_" + judges[j]->name() + suffix] = share(Verdict::kFailed);
  }
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
/// are is known to all ranks.
void add_baseline_log_ratios(const Llama& policy, const RoundSetting& setting,
                             const std::vector<const Prompt*>& prompts,
                             const std::vector<const BaselineResponse*>& baselines,
                             const std::vector<std::size_t>& needed, std::vector<CandidateFacts>& facts) {
  if (needed.empty()) return;
  std::vector<Document> documents;
  for (const std::size_t i : needed) documents.push_back(join(prompts[i]->tokens, baselines[i]->sample.tokens));
  const std::int64_t tokens = setting.options.train.micro_batch_tokens;
  const auto now = response_log_probs(policy, documents, tokens, setting.data, "policy KL");
  const auto before = response_log_probs(setting.reference, documents, tokens, setting.data, "policy KL");
  for (std::size_t i = 0; i < needed.size(); ++i) facts[needed[i]].log_ratio = now[i] - before[i];
}

/// Where a round's time goes, and how much of it the ranks spend in collectives: moving data and waiting for each
/// other.
class PhaseTimes {
 public:
  void end(const std::string& phase, RoundMetrics& metrics) {
    metrics[phase + "_seconds"] = now_seconds() - mark_;
    names_.push_back(phase);
    idle_.push_back(seconds_in_collectives() - idle_mark_);
    mark_ = now_seconds(), idle_mark_ = seconds_in_collectives();
  }
  /// Of each phase the ranks' mean, and that of the rank that waited most. @collective
  void add_idle(const Communicator& comm, RoundMetrics& metrics) const {
    std::vector<double> sums = idle_, most = idle_;
    comm.all_reduce(sums);
    comm.all_reduce(most, Reduce::kMax);
    for (std::size_t i = 0; i < names_.size(); ++i) {
      metrics[names_[i] + "_idle_seconds"] = sums[i] / comm.size();
      metrics[names_[i] + "_idle_most_seconds"] = most[i];
    }
  }

 private:
  double mark_ = now_seconds(), idle_mark_ = seconds_in_collectives();
  std::vector<std::string> names_;
  std::vector<double> idle_;
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

/// What the responses look like, for the report and its alarms.
void add_text_metrics(const Rollout& rollout, const RoundSetting& setting, RoundMetrics& metrics) {
  std::vector<double> closings, tokens, words, distinct, finished;
  for (std::size_t i = 0; i < rollout.responses.size(); ++i) {
    const std::string text = normalized_text(rollout.responses[i].text);
    closings.push_back(contains_any(text, setting.closing_phrases) ? 1.0 : 0.0);
    tokens.push_back(static_cast<double>(rollout.samples[i].tokens.size()));
    words.push_back(static_cast<double>(count_words(text)));
    distinct.push_back(distinct_ngrams(text, 2));
    finished.push_back(rollout.samples[i].finished ? 1.0 : 0.0);
  }
  metrics["closing_rate"] = mean(closings);
  metrics["length_tokens"] = mean(tokens);
  metrics["length_words"] = mean(words);
  metrics["distinct_2"] = mean(distinct);
  metrics["finished_rate"] = mean(finished);
}

/// What became of the prompts.
void add_term_metrics(const RoundFacts& facts, const RoundTerms& chosen, const PolicyOptions& options,
                      RoundMetrics& metrics) {
  double no_survivor = 0, weights = 0, satisfied = 0, survivors = 0, responses = 0;
  for (std::size_t i = 0; i < facts.num_prompts(); ++i) {
    for (const CandidateFacts& candidate : facts.of_prompt(i)) satisfied += candidate.satisfied ? 1 : 0;
    const std::int64_t count = num_survivors(facts.of_prompt(i), options);
    survivors += static_cast<double>(count);
    no_survivor += count == 0 ? 1 : 0;
  }
  std::set<std::int64_t> trained, baseline;
  for (const Term& term : chosen.terms) {
    trained.insert(term.prompt);
    if (term.response == kBaselineResponse) baseline.insert(term.prompt);
    responses += term.rejected == kNoResponse ? 1 : 2;
    weights += std::abs(term.weight);
  }
  const auto n = static_cast<double>(facts.num_prompts()), num_terms = static_cast<double>(chosen.terms.size());
  metrics["share_no_survivor"] = no_survivor / n;
  metrics["share_baseline"] = static_cast<double>(baseline.size()) / n;
  metrics["share_skipped"] = (n - static_cast<double>(trained.size())) / n;
  metrics["satisfied_per_prompt"] = satisfied / n;
  metrics["survivors_per_prompt"] = survivors / n;
  metrics["trained_responses"] = responses;
  metrics["chosen_weight"] = num_terms > 0 ? weights / num_terms : 0.0;
}

/// Terms with their documents. Only what the policy itself drew is compared with the training pass.
std::vector<TrainedTerm> with_documents(const std::vector<Term>& terms, const Rollout& rollout, std::size_t num_samples,
                                        const std::vector<const Prompt*>& prompts,
                                        const std::vector<const BaselineResponse*>& baselines) {
  std::vector<TrainedTerm> trained;
  for (const Term& term : terms) {
    const auto i = static_cast<std::size_t>(term.prompt);
    trained.push_back({term.weight, term.scale, {}, {}});
    for (const std::int64_t response : {term.response, term.rejected}) {
      if (response == kNoResponse) continue;
      const bool is_candidate = response != kBaselineResponse;
      const std::size_t k = i * num_samples + static_cast<std::size_t>(is_candidate ? response : 0);
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

}  // namespace

std::vector<double> objective_weights(const std::vector<Objective>& objectives, bool normalize) {
  std::vector<double> weights;
  for (const Objective& objective : objectives) weights.push_back(objective.weight);
  return normalize ? normalized_weights(weights) : weights;
}

RoundMetrics policy_round(Llama& policy, AdamW& optimizer, const RoundSetting& setting,
                          const std::vector<const Prompt*>& prompts,
                          const std::vector<const BaselineResponse*>& baselines, std::int64_t round,
                          std::vector<WatchedPrompt>* watched) {
  const PolicyOptions& options = setting.options;
  const std::size_t num_prompts = prompts.size(), num_samples = static_cast<std::size_t>(options.num_samples);
  const std::size_t num_objectives = setting.objectives.size();
  RLUF_ASSERT(baselines.size() == num_prompts);
  RoundMetrics metrics;
  PhaseTimes times;

  const bool drawn_by_policy = !policy_optimizer(options.optimizer).draws_from_reference;
  Rollout rollout = draw(drawn_by_policy ? policy : setting.reference, setting, prompts, round);
  times.end("generation", metrics);

  guarded(setting.data, [&] { RLUF_ASSERT(rollout.samples.size() == num_prompts * num_samples); });
  rollout.log_ratios = log_ratios(rollout, policy, drawn_by_policy, setting);
  metrics["kl"] = mean(rollout.log_ratios);
  std::vector<std::vector<double>> scores(rollout.samples.size(), std::vector<double>(num_objectives));
  for (std::size_t o = 0; o < num_objectives; ++o) {
    const Objective& objective = setting.objectives[o];
    const std::vector<double> raw = objective.score(rollout.responses);
    check_scores(raw, objective.name);
    std::vector<double> calibrated, probabilities;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      scores[i][o] = raw[i];
      calibrated.push_back(calibrated_reward(raw[i], baselines[i / num_samples]->scores[o]));
      if (objective.probability) probabilities.push_back(objective.probability(raw[i]));
    }
    metrics["score_" + objective.name] = mean(raw);
    metrics["reward_" + objective.name] = mean(calibrated);
    if (objective.probability) metrics["probability_" + objective.name] = mean(probabilities);
  }
  times.end("scoring", metrics);

  // From here to the terms every rank computes the same from the same numbers.
  const std::vector<double> weights = objective_weights(setting.objectives, options.normalize_weights);
  const std::vector<double> baseline_rewards(num_objectives, options.baseline_weight);
  RoundFacts facts{num_samples, {}, {}, {}};
  std::vector<JudgedResponse> to_judge;  // the candidates, then the baseline responses
  std::vector<double> rewards;
  for (std::size_t i = 0; i < num_prompts; ++i) {
    const BaselineResponse& baseline = *baselines[i];
    WatchedPrompt watch{{baseline.text}, {}};
    for (std::size_t k = i * num_samples; k < (i + 1) * num_samples; ++k) {
      std::vector<double> calibrated;
      for (std::size_t o = 0; o < num_objectives; ++o)
        calibrated.push_back(calibrated_reward(scores[k][o], baseline.scores[o]));
      if (watched != nullptr) {
        watch.after.push_back({rollout.responses[k].text, {}});
        for (std::size_t o = 0; o < num_objectives; ++o)
          watch.after.back().rewards[setting.objectives[o].name] = calibrated[o];
      }
      to_judge.push_back(
          judged(setting, *prompts[i], rollout.samples[k], rollout.responses[k].text, scores[k], baseline));
      facts.candidates.push_back({false, rollout.log_ratios[k], combined_reward(calibrated, weights)});
      facts.objective_rewards.push_back(std::move(calibrated));
      rewards.push_back(facts.candidates.back().reward);
    }
    if (watched != nullptr) watched->push_back(std::move(watch));
    facts.baselines.push_back({false, 0.0, combined_reward(baseline_rewards, weights)});
  }
  for (std::size_t i = 0; i < num_prompts; ++i)
    to_judge.push_back(
        judged(setting, *prompts[i], baselines[i]->sample, baselines[i]->text, baselines[i]->scores, *baselines[i]));
  const std::vector<JudgeOutcome> outcomes = judge_responses(setting.judges, to_judge);
  const std::size_t num_candidates = facts.candidates.size();
  for (std::size_t k = 0; k < num_candidates; ++k) facts.candidates[k].satisfied = outcomes[k].satisfied;
  for (std::size_t i = 0; i < num_prompts; ++i) facts.baselines[i].satisfied = outcomes[num_candidates + i].satisfied;
  const auto of_candidates = std::span(outcomes).first(num_candidates);
  add_judge_metrics(setting.judges, of_candidates, "", metrics);
  for (const std::string& task : setting.tasks) {
    std::vector<JudgeOutcome> of_task;
    for (std::size_t k = 0; k < of_candidates.size(); ++k)
      if (prompts[k / num_samples]->constraints.task == task) of_task.push_back(of_candidates[k]);
    metrics["responses." + task] = static_cast<double>(of_task.size());
    add_judge_metrics(setting.judges, of_task, "." + task, metrics);
  }
  metrics["reward"] = mean(rewards);
  if (options.optimizer == "crraft" && options.baseline_kl_check) {
    std::vector<std::size_t> needed;
    for (std::size_t i = 0; i < num_prompts; ++i)
      if (facts.baselines[i].satisfied && num_survivors(facts.of_prompt(i), options) == 0) needed.push_back(i);
    add_baseline_log_ratios(policy, setting, prompts, baselines, needed, facts.baselines);
  }
  const RoundTerms chosen = round_terms(facts, options, weights);
  add_term_metrics(facts, chosen, options, metrics);
  add_text_metrics(rollout, setting, metrics);
  times.end("judging", metrics);

  train_on(with_documents(chosen.terms, rollout, num_samples, prompts, baselines), chosen.divisor, policy, optimizer,
           setting, round, metrics);
  times.end("training", metrics);
  times.add_idle(setting.data, metrics);
  return metrics;
}

}  // namespace rluf
