#include "round_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "rluf/core/log.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"

namespace rluf {

PhaseTimes::PhaseTimes() : mark_(now_seconds()), idle_mark_(seconds_in_collectives()) {}

void PhaseTimes::end(const std::string& phase, RoundMetrics& metrics) {
  metrics[phase + "_seconds"] = now_seconds() - mark_;
  names_.push_back(phase);
  idle_.push_back(seconds_in_collectives() - idle_mark_);
  mark_ = now_seconds(), idle_mark_ = seconds_in_collectives();
}

void PhaseTimes::add_idle(const Communicator& comm, RoundMetrics& metrics) const {
  std::vector<double> sums = idle_, most = idle_;
  comm.all_reduce(sums);
  comm.all_reduce(most, Reduce::kMax);
  for (std::size_t i = 0; i < names_.size(); ++i) {
    metrics[names_[i] + "_idle_seconds"] = sums[i] / comm.size();
    metrics[names_[i] + "_idle_most_seconds"] = most[i];
  }
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

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

void add_term_metrics(const std::vector<TaskFacts>& tasks, const RoundTerms& chosen, RoundMetrics& metrics) {
  double n = 0, no_survivor = 0, weights = 0, satisfied = 0, survivors = 0, responses = 0;
  for (const TaskFacts& task : tasks)
    for (std::size_t i = 0; i < task.facts.num_prompts(); ++i) {
      for (const CandidateFacts& candidate : task.facts.of_prompt(i)) satisfied += candidate.satisfied ? 1 : 0;
      const std::int64_t count = num_survivors(task.facts.of_prompt(i), task.options);
      survivors += static_cast<double>(count);
      no_survivor += count == 0 ? 1 : 0;
      n += 1;
    }
  std::set<std::int64_t> trained, baseline;
  for (const Term& term : chosen.terms) {
    trained.insert(term.prompt);
    if (term.response == kBaselineResponse) baseline.insert(term.prompt);
    responses += term.rejected == kNoResponse ? 1 : 2;
    weights += std::abs(term.weight);
  }
  const auto num_terms = static_cast<double>(chosen.terms.size());
  metrics["share_no_survivor"] = no_survivor / n;
  metrics["share_baseline"] = static_cast<double>(baseline.size()) / n;
  metrics["share_skipped"] = (n - static_cast<double>(trained.size())) / n;
  metrics["satisfied_per_prompt"] = satisfied / n;
  metrics["survivors_per_prompt"] = survivors / n;
  metrics["trained_responses"] = responses;
  metrics["chosen_weight"] = num_terms > 0 ? weights / num_terms : 0.0;
}

void add_reward_metrics(const std::vector<TaskFacts>& tasks, const Rollout& rollout,
                        std::span<const JudgeOutcome> outcomes, const RoundSetting& setting,
                        const std::vector<const Prompt*>& prompts, RoundMetrics& metrics) {
  std::vector<double> rewards(rollout.samples.size());
  for (const TaskFacts& task : tasks)
    for (std::size_t j = 0; j < task.prompts.size(); ++j)
      for (std::size_t k = 0; k < task.facts.num_samples; ++k)
        rewards[rollout.first[task.prompts[j]] + k] = task.facts.of_prompt(j)[k].reward;
  metrics["reward"] = mean(rewards);
  metrics["kl"] = mean(rollout.log_ratios);
  add_judge_metrics(setting.judges, outcomes, "", metrics);
  for (const std::string& task : setting.tasks) {
    std::vector<JudgeOutcome> of_task;
    std::vector<double> rewards_of_task, log_ratios;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      if (prompts[i]->constraints.task != task) continue;
      for (std::size_t k = rollout.first[i]; k < rollout.first[i + 1]; ++k) {
        of_task.push_back(outcomes[k]);
        rewards_of_task.push_back(rewards[k]);
        log_ratios.push_back(rollout.log_ratios[k]);
      }
    }
    metrics["responses." + task] = static_cast<double>(of_task.size());
    metrics["reward." + task] = mean(rewards_of_task);
    metrics["kl." + task] = mean(log_ratios);
    add_judge_metrics(setting.judges, of_task, "." + task, metrics);
  }
}

}  // namespace rluf
