#include "rluf/pipeline/validation/held_out.hpp"

#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/policy/crraft.hpp"
#include "rluf/pipeline/reward/metrics.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Draws of this stage meet neither those of policy rounds, which count from 0, nor those of evaluate at 2^40.
constexpr std::uint64_t kHeldOutRound = std::uint64_t{1} << 41;
constexpr std::int64_t kAudienceUsers = 5000;

/// Sums the values of each prompt's answers and divides. @shape values [num_prompts * num_samples]
std::vector<double> prompt_means(const std::vector<double>& values, std::size_t num_samples) {
  std::vector<double> means;
  for (std::size_t first = 0; first < values.size(); first += num_samples)
    means.push_back(moments(std::span(values).subspan(first, num_samples)).mean);
  return means;
}

Interval mean_interval(const std::vector<double>& values, const ValidationOptions& options, std::uint64_t seed) {
  const std::vector<double> ones(values.size(), 1.0);
  return percentile_interval(moments(values).mean,
                             bootstrap_means(values, ones, static_cast<int>(options.bootstrap_replicates), seed));
}

/// Relative change of a mean; the resamples of both sides hold the same prompts.
Interval lift_interval(const std::vector<double>& values, const std::vector<double>& control,
                       const ValidationOptions& options, std::uint64_t seed) {
  const std::vector<double> ones(values.size(), 1.0);
  const auto num_replicates = static_cast<int>(options.bootstrap_replicates);
  auto replicates = bootstrap_means(values, ones, num_replicates, seed);
  const auto control_replicates = bootstrap_means(control, ones, num_replicates, seed);
  for (std::size_t i = 0; i < replicates.size(); ++i) replicates[i] = replicates[i] / control_replicates[i] - 1;
  return percentile_interval(moments(values).mean / moments(control).mean - 1, std::move(replicates));
}

}  // namespace

Audience::Audience(const World& world, std::int64_t max_users) : intercept_(world.parameters().love_intercept) {
  for (std::int64_t user = 0; user < std::min(max_users, world.num_users()); ++user) {
    tastes_.push_back(world.taste(user));
    total_ += tastes_.back().activity;
  }
}

double Audience::love(const LoveFeatures& features) const {
  double sum = 0;
  for (const UserTaste& taste : tastes_)
    sum += taste.activity / (1 + std::exp(-intercept_ - love_log_odds(taste, features)));
  return sum / total_;
}

HeldOutComparison::HeldOutComparison(const Yardstick& yardstick, const ValidationOptions& options,
                                     const AlarmOptions& alarms, const DataOptions& data, const StageContext& context)
    : yardstick_(yardstick), options_(options), alarms_(alarms), data_(data), context_(context) {
  for (Prompt& prompt : read_prompts(context.directory.data("prompts.h5"), Split::kHoldout, context.grid.world)) {
    if (options.max_prompts > 0 && std::ssize(prompts_) == options.max_prompts) break;
    prompts_.push_back(std::move(prompt.messages));
    ids_.push_back(prompt.id);
  }
  if (prompts_.empty())
    log_info("validate: there are no held-out prompts (data.holdout_share), so nothing is compared offline");
}

RewardScores HeldOutComparison::scores(const std::string& name, const std::vector<std::vector<Answer>>& answers) const {
  const RewardModel& reward = yardstick_.rewards.at(name);
  const std::int64_t max_tokens = std::min(data_.max_tokens, reward.model.config().max_position_embeddings);
  std::vector<Document> documents;
  guarded(context_.grid.world, [&] {
    for (std::size_t i = 0; i < prompts_.size(); ++i)
      for (const Answer& answer : answers[i])
        documents.push_back(
            render_document(prompts_[i], answer.text, *reward.text, data_.max_turns, max_tokens).document);
  });
  return reward.scores(documents, options_.micro_batch_tokens, context_.grid.world, "validate " + name);
}

void HeldOutComparison::add(const Arm& arm, const ArmModel& model) {
  if (prompts_.empty()) return;
  RLUF_ASSERT(arms_.empty() == !arm.love_weight.has_value());
  const auto answers = model.answer(prompts_, ids_, options_.samples_per_prompt, kHeldOutRound);
  std::map<std::string, std::vector<double>> values;  // one an answer
  std::vector<Document> documents;
  for (const auto& samples : answers)
    for (const Answer& answer : samples) {
      const std::string text = normalized_text(answer.text);
      values["closing_rate"].push_back(contains_any(text, yardstick_.closing_phrases) ? 1 : 0);
      values["length_tokens"].push_back(answer.num_tokens());
      values["finished_rate"].push_back(answer.finished ? 1 : 0);
      documents.push_back(answer.document);
    }
  if (arm.love_weight) {  // of the reference against itself it is 0
    const auto reference = response_log_probs(*yardstick_.reference, documents, options_.micro_batch_tokens,
                                              context_.grid.world, "validate KL");
    std::size_t next = 0;
    for (const auto& samples : answers)
      for (const Answer& answer : samples) values["kl"].push_back(answer.log_prob - reference[next++]);
  }
  for (const auto& [name, reward] : yardstick_.rewards) {
    const RewardScores scored = scores(name, answers);
    if (!arm.love_weight) reference_scores_[name] = scored;
    if (!scored.disagreement.empty()) values[name + "_disagreement"] = scored.disagreement;
    for (std::size_t i = 0; i < scored.raw.size(); ++i) {
      if (name == "love")
        values["love_probability"].push_back(calibrated_probability(scored.raw[i], reward.calibration));
      values[name + "_reward"].push_back(calibrated_reward(scored.raw[i], reference_scores_.at(name).raw[i]));
    }
  }
  if (yardstick_.world) {
    const World& world = *yardstick_.world;
    const Audience audience(world, kAudienceUsers);
    for (std::size_t i = 0; i < prompts_.size(); ++i)
      for (const Answer& answer : answers[i]) {
        const ResponseTruth truth = world.judge(prompts_[i], answer.text);
        values["true_love_rate"].push_back(audience.love(world.features(prompts_[i], truth)));
        values["true_helpfulness"].push_back(truth.helpfulness);
        values["true_safety"].push_back(truth.safety);
      }
  }
  ArmMeasures measures{.name = arm.name, .love_weight = arm.love_weight, .by_prompt = {}, .alarms = nullptr};
  if (!arm.love_weight) {
    for (const auto& samples : answers) {
      reference_texts_.emplace_back();
      for (const Answer& answer : samples) reference_texts_.back().push_back(answer.text);
    }
  } else if (alarms_.enabled) {
    std::vector<WatchedPrompt> watched;
    std::size_t next = 0;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      watched.push_back({reference_texts_[i], {}, {}});
      for (const Answer& answer : answers[i]) {
        watched.back().after.push_back({answer.text, {}, {}});
        for (const auto& [name, reference] : reference_scores_) {
          watched.back().after.back().rewards[name] = values.at(name + "_reward")[next];
          if (reference.disagreement.empty()) continue;
          watched.back().after.back().measures["disagreement_" + name] = values.at(name + "_disagreement")[next];
          watched.back().before_measures["disagreement_" + name].push_back(reference.disagreement[next]);
        }
        ++next;
      }
    }
    measures.alarms = find_alarms(watched, yardstick_.closing_phrases, alarms_, alarms_.false_alarm_rate);
    for (const Json& row : measures.alarms["alarms"])
      log_info(concat("warning: alarm: ", arm.name, " on held-out prompts: ", row["sentence"].get<std::string>()));
  }
  for (const auto& [name, column] : values)
    measures.by_prompt[name] = prompt_means(column, static_cast<std::size_t>(options_.samples_per_prompt));
  arms_.push_back(std::move(measures));
}

nlohmann::json HeldOutComparison::table() const {
  Json arms = Json::array(), differences = Json::array(), alarms = Json::array();
  std::vector<std::optional<double>> weights;
  for (const ArmMeasures& arm : arms_) {
    weights.push_back(arm.love_weight);
    Json row{{"name", arm.name}, {"love_weight", arm.love_weight ? Json(*arm.love_weight) : Json(nullptr)}};
    for (const auto& [name, values] : arm.by_prompt)
      row[name] = mean_interval(values, options_, context_.seed()).to_json();
    arms.push_back(row);
    if (arm.alarms.is_object()) {
      alarms.push_back(arm.alarms);
      alarms.back()["name"] = arm.name;
    }
  }
  for (const auto& [treatment, control] : comparisons(weights)) {
    Json row{{"name", arms_[treatment].name}, {"to", arms_[control].name}};
    for (const auto& [name, values] : arms_[treatment].by_prompt) {
      const auto other = arms_[control].by_prompt.find(name);
      if (other == arms_[control].by_prompt.end()) continue;
      std::vector<double> difference(values);
      for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= other->second[i];
      row[name] = mean_interval(difference, options_, context_.seed()).to_json();
      if (name == "love_probability" || name == "true_love_rate")
        row[name + "_lift"] = lift_interval(values, other->second, options_, context_.seed()).to_json();
    }
    differences.push_back(row);
  }
  Json rewards = Json::array();
  for (const auto& [name, reward] : yardstick_.rewards) rewards.push_back(name);
  return {{"prompts", prompts_.size()},
          {"samples_per_prompt", options_.samples_per_prompt},
          {"temperature", options_.sampling.temperature},
          {"reward_models", rewards},
          {"interval", "percentile bootstrap over prompts, differences paired by prompt, 95 %"},
          {"arms", arms},
          {"alarms", alarms},
          {"differences", differences}};
}

std::vector<std::pair<std::size_t, std::size_t>> comparisons(const std::vector<std::optional<double>>& love_weights) {
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (std::size_t control = 0; control < love_weights.size(); ++control) {
    if (love_weights[control].value_or(0) != 0) continue;
    for (std::size_t arm = 0; arm < love_weights.size(); ++arm)
      if (love_weights[arm] && arm != control) pairs.emplace_back(arm, control);
  }
  return pairs;
}

}  // namespace rluf
