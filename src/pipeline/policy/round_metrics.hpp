#pragma once
/// The figures of a round, by name; the same names in every round of a run.
#include <span>
#include <string>
#include <vector>

#include "rluf/pipeline/policy/policy_optimizers.hpp"
#include "rollout.hpp"

namespace rluf {

/// The prompts of a round with one setting, and what is known of their responses.
struct TaskFacts {
  PolicyOptions options;                  ///< with the task's own
  double weight = 1;                      ///< rho
  std::vector<double> objective_weights;  ///< as they enter R
  std::vector<std::size_t> prompts;       ///< positions in the round
  RoundFacts facts;
};

/// Where a round's time goes, and how much of it the ranks spend in collectives: moving data and waiting for each
/// other.
class PhaseTimes {
 public:
  PhaseTimes();
  void end(const std::string& phase, RoundMetrics& metrics);
  /// Of each phase the ranks' mean, and that of the rank that waited most. @collective
  void add_idle(const Communicator& comm, RoundMetrics& metrics) const;

 private:
  double mark_, idle_mark_;
  std::vector<std::string> names_;
  std::vector<double> idle_;
};

/// 0 of none.
double mean(const std::vector<double>& values);

/// What the responses look like, for the report and its alarms.
void add_text_metrics(const Rollout& rollout, const RoundSetting& setting, RoundMetrics& metrics);

/// What became of the prompts.
void add_term_metrics(const std::vector<TaskFacts>& tasks, const RoundTerms& chosen, RoundMetrics& metrics);

/// Shares of verdicts by judge, as violated_JUDGE and the like with `suffix`; what is missing to one was not asked. 0
/// without responses.
void add_judge_metrics(const Judges& judges, std::span<const JudgeOutcome> outcomes, const std::string& suffix,
                       RoundMetrics& metrics);

/// Rewards, log-ratios and verdicts, of all candidates and of each task's. @shape outcomes [candidates]
void add_reward_metrics(const std::vector<TaskFacts>& tasks, const Rollout& rollout,
                        std::span<const JudgeOutcome> outcomes, const RoundSetting& setting,
                        const std::vector<const Prompt*>& prompts, RoundMetrics& metrics);

}  // namespace rluf
