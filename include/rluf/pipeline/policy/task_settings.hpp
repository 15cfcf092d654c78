#pragma once
/// What a class of prompts has of its own in a round: how many prompts, N, the KL cap, what the objectives count, and
/// what its gradient counts. Pure functions.
/// @source CGPO (arXiv 2409.20370), Algorithm 2; its judges are in task_judges.hpp
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/policy/policy_optimizers.hpp"

namespace rluf {

struct TaskSetting {
  double weight = 1;                           ///< rho of the task's gradient
  std::int64_t prompts = 0;                    ///< of each round; 0: as the common order brings them
  std::int64_t num_samples = 0;                ///< N
  double kl_max = 0;                           ///< @unit nats
  std::map<std::string, double> factors = {};  ///< times the weights of the named objectives

  double factor(const std::string& objective) const {
    const auto found = factors.find(objective);
    return found == factors.end() ? 1.0 : found->second;
  }
  /// The options with what the task has of its own.
  PolicyOptions applied_to(PolicyOptions options) const;
};

/// Settings by task. "*", which is always there, holds for the prompts of all other tasks and of none.
class TaskSettings {
 public:
  /// Of policy.task_settings, such as "math: weight=2 num_samples=8 love=0; chat: kl_max=5"; what is not said is as for
  /// all. @throws Error(kBadInput) for what cannot be read or contradicts the options
  explicit TaskSettings(const PolicyOptions& options);

  /// Name of the setting that holds for prompts of `task`.
  std::string of(const std::string& task) const { return settings_.contains(task) ? task : "*"; }
  const TaskSetting& operator[](const std::string& name) const { return settings_.at(name); }
  const std::map<std::string, TaskSetting>& all() const { return settings_; }
  /// Whether every task has its number of prompts a round.
  bool share_rounds() const { return share_rounds_; }

 private:
  std::map<std::string, TaskSetting> settings_;
  bool share_rounds_ = false;
};

/// The task of a prompt that names none, by what its user says last: the first in policy.task_words with one of its
/// phrases, as in "math: solve, how many; code: python"; empty if there is none.
class TaskWords {
 public:
  /// @throws Error(kBadInput) for what cannot be read
  explicit TaskWords(const std::string& text);
  std::string task_of(const std::string& last_user_message) const;

 private:
  std::vector<std::pair<std::string, std::vector<std::string>>> tasks_;
};

/// Positions of the prompts of a round, in 0..tasks.size()-1: a pure function of (seed, round). If the tasks share the
/// rounds, each in its own order, one after the other. @shape tasks [num_prompts], names of settings
/// @throws Error(kBadData) if there are too few of one
std::vector<std::int64_t> round_prompts_of_tasks(const std::vector<std::string>& tasks, const TaskSettings& settings,
                                                 const PolicyOptions& options, std::uint64_t seed, std::int64_t round);

/// The terms of all tasks of a round, so that their sum is sum_l rho_l g_l, g_l being a task's own step: its terms
/// over its own divisor. One task alone, of weight 1, keeps its terms as they are. @source CGPO Algorithm 2
RoundTerms terms_of_tasks(const std::vector<RoundTerms>& of_tasks, const std::vector<double>& weights);

}  // namespace rluf
