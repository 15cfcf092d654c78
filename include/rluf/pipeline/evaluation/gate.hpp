#pragma once
/// Whether a candidate may replace the one that serves users now.
#include <optional>

#include "rluf/pipeline/evaluation/candidates.hpp"
#include "rluf/pipeline/evaluation/evaluate.hpp"

namespace rluf {

/// What the love model says of one candidate's responses, prompt by prompt.
struct ScoredCandidate {
  std::vector<double> probabilities, raw_scores, response_tokens;  ///< [num_prompts]
  double closings = 0;
  std::int64_t truncated = 0;
};

/// Where options.baseline stands; none if it is empty. @throws Error(kBadInput) if there is no such candidate, or a
/// gate without one
std::optional<std::size_t> position_of_baseline(const CandidateSet& set, const EvaluationOptions& options);

/// {"baseline", "margin", "candidates": [{"name", "passes", "reason", "loss", "p", "alarms", ...}]}: a row for each
/// other candidate. Pure function. @shape scored [num_candidates]
nlohmann::json gate_table(const CandidateSet& set, const std::vector<ScoredCandidate>& scored, std::size_t baseline,
                          const EvaluationOptions& options, const AlarmOptions& alarms);

/// Logs the rows of all tables. @throws Error(kAlarm) naming who does not pass and why, if `shut`
void apply_gates(const std::vector<nlohmann::json>& tables, bool shut);

}  // namespace rluf
