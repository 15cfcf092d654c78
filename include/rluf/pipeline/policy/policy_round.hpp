#pragma once
/// One round: draw N responses a prompt, score, judge, choose the terms of the loss, train on them.
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "rluf/pipeline/alarms/alarms.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/policy/task_settings.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"

namespace rluf {

/// A response as the reward models and judges see it.
struct PromptedResponse {
  const Prompt* prompt = nullptr;
  std::string text;
};

/// An objective: how responses are scored, and how much it counts.
struct Objective {
  std::string name;  ///< helpfulness, safety, love
  double weight = 0;
  /// Raw scores (logits), and what heads disagree. @collective, equal on all ranks
  std::function<RewardScores(const std::vector<PromptedResponse>&)> score;
  std::function<double(double)> probability;  ///< of a raw score by the model's own calibration
};

/// Name of the objective, of weight 0, that a witness scores: "witness_love".
inline std::string witness_name(const std::string& objective) { return "witness_" + objective; }

/// a_bar of one prompt, with its raw score for each objective, and the disagreement of those with several heads.
struct BaselineResponse {
  Sample sample;
  std::string text;
  std::vector<double> scores;  ///< [num_objectives]
  std::map<std::string, double> disagreement = {};
};

/// What does not change from round to round.
struct RoundSetting {
  const PolicyOptions& options;
  const Llama& reference;
  const std::vector<Objective>& objectives;
  const Judges& judges;
  std::vector<std::string> closing_phrases;            ///< normalised
  std::function<std::string(const TokenIds&)> decode;  ///< text of response tokens, special tokens left out
  std::vector<std::int32_t> stop_ids;
  std::uint64_t seed = 0;
  const Communicator& data;
  std::vector<std::string> tasks = {};  ///< of all prompts of the run, whose verdicts are counted apart
  TaskSettings task_settings = TaskSettings(options);
  const Judges* watching = nullptr;  ///< judges that choose nothing
};

/// Weights of the objectives as they enter R for prompts of a task, in their order (normalised if asked for).
std::vector<double> objective_weights(const std::vector<Objective>& objectives, const TaskSetting& task,
                                      bool normalize);

/// Metrics of a round; the names are the same in every round of a run.
using RoundMetrics = std::map<std::string, double>;

/// Runs round `round` (from 0) and steps the policy in place. A round without a term takes no step.
/// The terms and the loss do not depend on the number of ranks.
/// `prompts` and `baselines` belong to each other; `watched`, if it is given, gets what was drawn for each of them.
/// @collective over setting.data
RoundMetrics policy_round(Llama& policy, AdamW& optimizer, const RoundSetting& setting,
                          const std::vector<const Prompt*>& prompts,
                          const std::vector<const BaselineResponse*>& baselines, std::int64_t round,
                          std::vector<WatchedPrompt>* watched = nullptr);

}  // namespace rluf
