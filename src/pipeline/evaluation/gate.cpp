#include "rluf/pipeline/evaluation/gate.hpp"

#include <cmath>
#include <cstdio>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/alarms/text_shift.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Both responses to each prompt; the love model's reward of the candidate's is relative to the baseline's.
std::vector<WatchedPrompt> watched(const Candidate& candidate, const ScoredCandidate& scores, const Candidate& baseline,
                                   const ScoredCandidate& baseline_scores) {
  std::vector<WatchedPrompt> prompts;
  for (std::size_t i = 0; i < candidate.responses.size(); ++i) {
    const double reward = logistic(scores.raw_scores[i] - baseline_scores.raw_scores[i]);
    prompts.push_back({{baseline.responses[i]}, {{candidate.responses[i], {{"love", reward}}}}});
  }
  return prompts;
}

}  // namespace

std::optional<std::size_t> position_of_baseline(const CandidateSet& set, const EvaluationOptions& options) {
  std::string names;
  for (std::size_t c = 0; c < set.candidates.size(); ++c) {
    if (!options.baseline.empty() && set.candidates[c].name == options.baseline) return c;
    names += concat(names.empty() ? "" : ", ", set.candidates[c].name);
  }
  if (!options.baseline.empty())
    fail_input(concat("evaluate.baseline = \"", options.baseline, "\" is no candidate"),
               "the others are to be compared with it", concat("choose one of ", names));
  if (options.gate)
    fail_input("evaluate.gate needs evaluate.baseline", "a candidate passes or not against what serves users now",
               concat("choose one of ", names));
  return std::nullopt;
}

Json gate_table(const CandidateSet& set, const std::vector<ScoredCandidate>& scored, std::size_t baseline,
                const EvaluationOptions& options, const AlarmOptions& alarms) {
  const std::vector<std::string> closings = phrase_list(options.closing_phrases);
  const std::vector<double>& base = scored[baseline].probabilities;
  const double base_mean = moments(base).mean;
  Json rows = Json::array();
  for (std::size_t c = 0; c < scored.size(); ++c) {
    if (c == baseline) continue;
    const MeasureShift shift = measure_shift(base, scored[c].probabilities, -options.gate_margin * base_mean);
    Json found = Json::array();
    if (alarms.enabled)
      found = find_alarms(watched(set.candidates[c], scored[c], set.candidates[baseline], scored[baseline]), closings,
                          alarms, alarms.false_alarm_rate)["alarms"];
    char love[160];
    std::snprintf(love, sizeof love, "mean P[Love] %.4f %% against %.4f %%, one-sided p = %.3g of a loss of %g %%",
                  100 * shift.after, 100 * shift.before, shift.p, 100 * options.gate_margin);
    std::string reason = love;
    const bool keeps_love = shift.p <= options.gate_alpha;
    if (!std::isfinite(shift.p)) {
      reason = concat(base.size(), " prompts are too few to rule out a loss");
    } else if (!keeps_love) {
      reason = concat("a loss of love is not ruled out: ", love);
    } else if (!found.empty()) {
      reason = concat("alarm: ", found[0]["sentence"].get<std::string>());
    }
    rows.push_back({{"name", set.candidates[c].name},
                    {"passes", keeps_love && found.empty()},
                    {"reason", reason},
                    {"mean_probability", shift.after},
                    {"baseline_probability", shift.before},
                    {"p", number_or_null(shift.p)},
                    {"alarms", found}});
  }
  return {{"baseline", set.candidates[baseline].name},
          {"margin", options.gate_margin},
          {"alpha", options.gate_alpha},
          {"candidates", rows}};
}

void apply_gates(const std::vector<Json>& tables, bool shut) {
  std::string refused;
  for (const Json& table : tables)
    for (const Json& row : table.at("candidates")) {
      const std::string text = concat(row.at("name").get<std::string>(), ": ", row.at("reason").get<std::string>());
      const bool passes = row.at("passes");
      log_info(concat("evaluate: gate against ", table.at("baseline").get<std::string>(), ": ",
                      passes ? "passes, " : "does not pass, ", text));
      if (!passes) refused += concat(refused.empty() ? "" : "; ", text);
    }
  if (shut && !refused.empty())
    throw Error(ExitCode::kAlarm, concat("the gate is shut for ", refused,
                                         " (users would be served worse or be gamed): "
                                         "see tables/evaluation.json"));
}

}  // namespace rluf
