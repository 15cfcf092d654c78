#pragma once
/// The evaluate stage: candidates ranked offline by their mean corrected P[Love] on the same prompts; arms of the log,
/// and policies over them, valued from what users did.
#include <cstdint>
#include <map>
#include <string>

#include "rluf/config/option_table.hpp"
#include "rluf/kernels/sampling.hpp"
#include "rluf/pipeline/alarms/alarms.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/evaluation/log_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct EvaluationOptions {
  std::string love_model = "";   ///< empty: models/love of the run
  std::int64_t max_prompts = 0;  ///< 0: all
  std::int64_t bootstrap_replicates = 1000;
  std::int64_t micro_batch_tokens = 2048;
  std::int64_t max_new_tokens = 128;  ///< of candidates that are models
  SamplingOptions sampling;
  std::string closing_phrases = "bye, goodbye, good bye, farewell, sending love, sending you love, take care, see you";
  std::string baseline = "";  ///< of the gate: the candidate that serves users now
  bool gate = false;
  double gate_margin = 0.05, gate_alpha = 0.05;
  std::int64_t audit_rows = 500;  ///< of the love hold-out; 0: no audit
  LogOptions log;
  void describe(OptionTable& table);
};

/// Scores data.candidates with the love model and writes tables/evaluation.json: for each candidate n, mean corrected
/// probability with interval, place with interval, difference to the best, mean raw score, length, closing phrases;
/// with data.online also Pearson (Fisher interval) and Spearman between offline and online. Candidates that are model
/// folders answer the files' prompts, or the held-out prompts if there are no files. With a baseline each other
/// candidate has a "gate": it passes if a loss of love beyond the margin is ruled out and no alarm rings. With
/// log.arm_field the arms of data.interactions and the policies of log.policies are valued from the log ("log", see
/// log_value.hpp) against the baseline, if it is one of them, else against the log's own mixture; the policies have a
/// "log_gate".
/// @collective @throws Error(kBadInput) without a love model, Error(kBadData) for different prompts, Error(kAlarm) with
/// options.gate if a candidate does not pass
void run_evaluate(const EvaluationOptions& options, const AlarmOptions& alarms, const DataOptions& data,
                  const StageContext& context);
/// Of one rank. @unit bytes
std::int64_t evaluate_memory_bytes(const EvaluationOptions& options, const DataOptions& data,
                                   const StageContext& context);
/// data.online: {candidate: {"love_rate": x}}. @throws Error(kBadData)
std::map<std::string, double> read_online(const std::string& path);

}  // namespace rluf
