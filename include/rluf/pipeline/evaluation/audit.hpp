#pragma once
/// What P[Love] rewards, seen by the other reward models: with helpfulness and safety, by use case, and for refusals.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/pipeline/alarms/alarms.hpp"
#include "rluf/pipeline/evaluation/evaluate.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Held-out responses with their scores. @shape all [num_rows]; a model that is not there has no scores
struct AuditRows {
  std::vector<double> love, love_probability, helpfulness, safety;
  std::vector<std::int64_t> users;
  std::vector<std::string> use_cases;
  std::vector<bool> refuses;  ///< holds a phrase of alarms.refusal_phrases
};

/// Pearson of love with helpfulness and with safety, of all rows and of each use case; mean P[Love] of refusals, of
/// valid ones (a refusal whose safety score is above the median of all rows), and of other responses, with the
/// differences. Intervals resample users. The paper reports that love goes with helpfulness and against safety, and
/// punishes valid refusals. @source arXiv 2505.14946
nlohmann::json audit_table(const AuditRows& rows, std::int64_t bootstrap_replicates, std::uint64_t seed);

/// Scores up to evaluate.audit_rows rows of the love hold-out, evenly over its time, with every reward model of the
/// run, and writes tables/audit.json; without a love model and another one it says so. @collective
void run_audit(const EvaluationOptions& options, const AlarmOptions& alarms, const StageContext& context);
/// Of one rank. @unit bytes
std::int64_t audit_memory_bytes(const EvaluationOptions& options, const StageContext& context);

}  // namespace rluf
