#include "rluf/pipeline/policy/policy_round.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "log_prob_difference.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/packing.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"

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

Rollout draw(const Llama& policy, const RoundSetting& setting, const std::vector<const Prompt*>& prompts,
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
  auto drawn = generate_over_ranks(policy, tokens, ids, generation, setting.data);
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

/// log pi_t - log pi_ref of every candidate; pi_t is the policy that drew it.
std::vector<double> log_ratios(const Rollout& rollout, const RoundSetting& setting) {
  const auto reference = response_log_probs(setting.reference, rollout.documents,
                                            setting.options.train.micro_batch_tokens, setting.data, "policy KL");
  std::vector<double> ratios;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    ratios.push_back(sum_log_probs(rollout.samples[i]) - reference[i]);
    if (!std::isfinite(ratios.back()))
      fail_data(
          concat("the log-ratio of a response to prompt ", rollout.responses[i].prompt->id, " is ", ratios.back()),
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

void add_choice_metrics(const std::vector<Choice>& choices, RoundMetrics& metrics) {
  double no_survivor = 0, baseline = 0, skipped = 0, weights = 0, satisfied = 0, survivors = 0;
  for (const Choice& choice : choices) {
    no_survivor += choice.num_survivors == 0 ? 1 : 0;
    baseline += choice.source == Source::kBaseline ? 1 : 0;
    skipped += choice.source == Source::kSkipped ? 1 : 0;
    satisfied += static_cast<double>(choice.num_satisfied);
    survivors += static_cast<double>(choice.num_survivors);
    weights += choice.weight;
  }
  const auto n = static_cast<double>(choices.size());
  metrics["share_no_survivor"] = no_survivor / n;
  metrics["share_baseline"] = baseline / n;
  metrics["share_skipped"] = skipped / n;
  metrics["satisfied_per_prompt"] = satisfied / n;
  metrics["survivors_per_prompt"] = survivors / n;
  metrics["chosen_weight"] = n - skipped > 0 ? weights / (n - skipped) : 0.0;
}

}  // namespace

std::vector<double> objective_weights(const std::vector<Objective>& objectives, bool normalize) {
  std::vector<double> weights;
  for (const Objective& objective : objectives) weights.push_back(objective.weight);
  return normalize ? normalized_weights(weights) : weights;
}

LossFunction weighted_log_prob_loss(const std::vector<Document>& documents, const std::vector<double>& coefficients,
                                    const LogProbObserver& observe) {
  return [&documents, &coefficients, observe](const Llama& model, const std::vector<std::int64_t>& examples) {
    std::vector<Document> batch;
    std::vector<float> row_coefficients;
    for (const std::int64_t example : examples) {
      const auto i = static_cast<std::size_t>(example);
      batch.push_back(documents[i]);
      const auto rows = documents[i].tokens.size() - static_cast<std::size_t>(documents[i].response_start);
      row_coefficients.insert(row_coefficients.end(), rows, static_cast<float>(coefficients[i]));
    }
    const ResponseRows response = response_rows(batch, model.device());
    const at::Tensor log_probs_R = response_token_log_probs(model, batch, response);
    if (observe) {
      const at::Tensor values = log_probs_R.detach().to(torch::kCPU, torch::kFloat32).contiguous();
      const std::span<const float> all(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel()));
      for (std::size_t d = 0; d < examples.size(); ++d)
        observe(static_cast<std::size_t>(examples[d]),
                all.subspan(static_cast<std::size_t>(response.offsets[d]),
                            static_cast<std::size_t>(response.offsets[d + 1] - response.offsets[d])));
    }
    const at::Tensor coefficients_R = torch::tensor(row_coefficients, torch::kFloat32).to(model.device());
    return MicroLoss{(log_probs_R * coefficients_R).sum(), {}};
  };
}

RoundMetrics crraft_round(Llama& policy, AdamW& optimizer, const RoundSetting& setting,
                          const std::vector<const Prompt*>& prompts,
                          const std::vector<const BaselineResponse*>& baselines, std::int64_t round,
                          std::vector<WatchedPrompt>* watched) {
  const PolicyOptions& options = setting.options;
  const std::size_t num_prompts = prompts.size(), num_samples = static_cast<std::size_t>(options.num_samples);
  const std::size_t num_objectives = setting.objectives.size();
  RLUF_ASSERT(baselines.size() == num_prompts);
  RoundMetrics metrics;
  double mark = now_seconds();
  const auto lap = [&] {
    const double before = mark;
    mark = now_seconds();
    return mark - before;
  };

  Rollout rollout = draw(policy, setting, prompts, round);
  metrics["generation_seconds"] = lap();

  guarded(setting.data, [&] { RLUF_ASSERT(rollout.samples.size() == num_prompts * num_samples); });
  rollout.log_ratios = log_ratios(rollout, setting);
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
  metrics["scoring_seconds"] = lap();

  // From here to the choices every rank computes the same from the same numbers.
  const std::vector<double> weights = objective_weights(setting.objectives, options.normalize_weights);
  const std::vector<double> baseline_rewards(num_objectives, options.baseline_weight);
  std::vector<JudgedResponse> to_judge;  // the candidates, then the baseline responses
  std::vector<CandidateFacts> candidates, baseline_facts;
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
      candidates.push_back({false, rollout.log_ratios[k], combined_reward(calibrated, weights)});
      rewards.push_back(candidates.back().reward);
    }
    if (watched != nullptr) watched->push_back(std::move(watch));
    baseline_facts.push_back({false, 0.0, combined_reward(baseline_rewards, weights)});
  }
  for (std::size_t i = 0; i < num_prompts; ++i)
    to_judge.push_back(
        judged(setting, *prompts[i], baselines[i]->sample, baselines[i]->text, baselines[i]->scores, *baselines[i]));
  const std::vector<JudgeOutcome> outcomes = judge_responses(setting.judges, to_judge);
  for (std::size_t k = 0; k < candidates.size(); ++k) candidates[k].satisfied = outcomes[k].satisfied;
  for (std::size_t i = 0; i < num_prompts; ++i) baseline_facts[i].satisfied = outcomes[candidates.size() + i].satisfied;
  const auto of_candidates = std::span(outcomes).first(candidates.size());
  add_judge_metrics(setting.judges, of_candidates, "", metrics);
  for (const std::string& task : setting.tasks) {
    std::vector<JudgeOutcome> of_task;
    for (std::size_t k = 0; k < of_candidates.size(); ++k)
      if (prompts[k / num_samples]->constraints.task == task) of_task.push_back(of_candidates[k]);
    metrics["responses." + task] = static_cast<double>(of_task.size());
    add_judge_metrics(setting.judges, of_task, "." + task, metrics);
  }
  metrics["reward"] = mean(rewards);
  const CrraftRules rules = options.rules();
  const auto choose = [&](std::size_t i) {
    return choose_response(std::span(candidates).subspan(i * num_samples, num_samples), baseline_facts[i], rules);
  };
  if (rules.baseline_kl_check) {
    std::vector<std::size_t> needed;
    for (std::size_t i = 0; i < num_prompts; ++i)
      if (baseline_facts[i].satisfied && choose(i).num_survivors == 0) needed.push_back(i);
    add_baseline_log_ratios(policy, setting, prompts, baselines, needed, baseline_facts);
  }
  std::vector<Choice> choices;
  for (std::size_t i = 0; i < num_prompts; ++i) choices.push_back(choose(i));
  add_choice_metrics(choices, metrics);
  add_text_metrics(rollout, setting, metrics);
  metrics["judging_seconds"] = lap();

  std::vector<Document> documents;
  std::vector<double> coefficients;
  std::vector<std::int64_t> lengths;
  std::vector<const Sample*> drawn;
  for (std::size_t i = 0; i < num_prompts; ++i) {
    const Choice& choice = choices[i];
    if (choice.source == Source::kSkipped) continue;
    const std::size_t candidate = i * num_samples + static_cast<std::size_t>(choice.candidate);
    const bool is_candidate = choice.source == Source::kCandidate;
    documents.push_back(is_candidate ? rollout.documents[candidate]
                                     : join(prompts[i]->tokens, baselines[i]->sample.tokens));
    drawn.push_back(is_candidate ? &rollout.samples[candidate] : nullptr);
    lengths.push_back(static_cast<std::int64_t>(documents.back().tokens.size()));
    coefficients.push_back(loss_coefficient(choice.weight, lengths.back() - documents.back().response_start,
                                            options.length_normalization()));
  }
  const std::int64_t num_steps = options.rounds * options.steps_per_round;
  metrics["loss"] = metrics["grad_norm"] = metrics["learning_rate"] = metrics["bad_steps"] = 0;
  LogProbDifference difference(std::move(drawn));
  if (!documents.empty()) {
    std::vector<std::vector<std::int64_t>> micro_batches;
    for (const PackRange& range : pack_ranges(lengths, options.train.micro_batch_tokens)) {
      micro_batches.emplace_back();
      for (std::int64_t i = range.first; i < range.last; ++i) micro_batches.back().push_back(i);
    }
    const double divisor = step_divisor(choices, options.divisor());
    for (std::int64_t s = 0; s < options.steps_per_round; ++s) {
      const double rate = learning_rate_at(options.train, round * options.steps_per_round + s, num_steps);
      // Only the first step's pass is of the policy that drew.
      const LogProbObserver see = [&](std::size_t document, std::span<const float> log_probs) {
        if (s == 0) difference.see(document, log_probs);
      };
      const StepResult step = train_step(policy, optimizer, micro_batches, divisor, rate,
                                         weighted_log_prob_loss(documents, coefficients, see), setting.data);
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
  metrics["training_seconds"] = lap();
  return metrics;
}

}  // namespace rluf
