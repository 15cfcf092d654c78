#pragma once
/// The arms on the same held-out prompts: reward models, closings, length, KL, and in a simulated world the truth.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/pipeline/simulation/world.hpp"
#include "rluf/pipeline/validation/arms.hpp"

namespace rluf {

/// What the answers are measured by. `world` is none with real data.
struct Yardstick {
  std::map<std::string, RewardModel> rewards;  ///< love, helpfulness, safety, as far as they exist
  std::optional<Llama> reference;
  std::vector<std::string> closing_phrases;  ///< normalised
  std::optional<World> world;
};

/// Chance of a heart averaged over users as they are active: what an endless A/B test would measure on a response.
class Audience {
 public:
  /// The first `max_users` of the world; their tastes are independent draws, so these stand for all.
  Audience(const World& world, std::int64_t max_users);
  double love(const LoveFeatures& features) const;

 private:
  double intercept_, total_ = 0;
  std::vector<UserTaste> tastes_;
};

/// One number a prompt for each measure: the mean over the prompt's answers.
struct ArmMeasures {
  std::string name;
  std::optional<double> love_weight;
  std::map<std::string, std::vector<double>> by_prompt;  ///< [num_prompts]
  nlohmann::json alarms;                                 ///< of find_alarms(); null for the reference
};

class HeldOutComparison {
 public:
  HeldOutComparison(const Yardstick& yardstick, const ValidationOptions& options, const AlarmOptions& alarms,
                    const DataOptions& data, const StageContext& context);
  std::int64_t num_prompts() const { return std::ssize(prompts_); }
  /// Lets the arm answer and measures it; the reference comes first. @collective
  void add(const Arm& arm, const ArmModel& model);
  /// {"prompts", "samples_per_prompt", "arms", "differences", ...}: means with percentile intervals over prompts, and
  /// differences (and lifts of love) to the policy of weight 0 and to the reference, paired by prompt.
  nlohmann::json table() const;
  const std::vector<ArmMeasures>& arms() const { return arms_; }

 private:
  const Yardstick& yardstick_;
  const ValidationOptions& options_;
  const AlarmOptions& alarms_;
  const DataOptions& data_;
  const StageContext& context_;
  std::vector<std::vector<Message>> prompts_;
  std::vector<std::int64_t> ids_;
  std::vector<ArmMeasures> arms_;
  std::map<std::string, RewardScores> reference_scores_;   ///< one an answer
  std::vector<std::vector<std::string>> reference_texts_;  ///< [num_prompts][samples_per_prompt]

  RewardScores scores(const std::string& name, const std::vector<std::vector<Answer>>& answers) const;
};

/// (arm, control) of every comparison: each policy against the reference, and against the policy of weight 0.
/// `love_weights`: of each arm, none for the reference. @return positions
std::vector<std::pair<std::size_t, std::size_t>> comparisons(const std::vector<std::optional<double>>& love_weights);

}  // namespace rluf
