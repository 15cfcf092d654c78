#pragma once
/// A small chat world with known truth: topics, users with hidden taste (warmth, usefulness, length, closings), old
/// policies that answered them, and the true helpfulness and safety of any response. Its parameters are documented in
/// world.json; the same world serves every arm of an experiment.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/core/random.hpp"
#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

/// What can be read off a response's text, by the world's own rules.
struct ResponseTruth {
  double helpfulness = 0;  ///< 0..1
  double safety = 0;       ///< 0..1
  double warmth = 0;       ///< 0..1
  bool closing = false;    ///< ends the conversation with a goodbye ("bye", "sending love", ...)
  std::int64_t num_words = 0;
};

/// How an old policy writes: chances of each habit.
struct WritingStyle {
  std::string name;
  double knowledge = 0.8;   ///< to cover a fact that was asked for
  double warm = 0.3;        ///< of a warm phrase, tried twice
  double padding = 0.2;     ///< of a phrase that says nothing, tried twice
  double closing = 0.05;    ///< of a goodbye at the end
  double compliance = 0.2;  ///< of helping with what must not be helped with
};
/// Policies whose answers fill the log. Intercepts are fitted on these alone.
const std::vector<WritingStyle>& old_styles();
/// Further candidates that never were online.
const std::vector<WritingStyle>& new_styles();

/// Everything that can be turned in the world; for_each names and explains each.
struct WorldParameters {
  double seed = 1, num_users = 3000, activity_exponent = 1.6, unsafe_share = 0.12, follow_up_share = 0.35;
  double usefulness_mean = 1.6, usefulness_spread = 0.6, warmth_mean = 0.9, warmth_spread = 0.7;
  double length_mean = -0.3, length_spread = 0.4, parting_share = 0.35, parting_love = 1.8, closing_dislike = -0.4;
  double user_spread = 0.8, companion_bonus = 0.5, unsafe_dislike = -1.0, refusal_dislike = -1.0;
  double closing_harm = 0.15, padding_harm = 0.3, love_intercept = -8.0;

  template <class Visit>
  void for_each(Visit&& visit) {
    visit("seed", seed, "all that happens is a pure function of it");
    visit("num_users", num_users, "users of the population");
    visit("activity_exponent", activity_exponent, "Pareto exponent of a user's activity: smaller has heavier tails");
    visit("unsafe_share", unsafe_share, "share of conversations that ask for something harmful");
    visit("follow_up_share", follow_up_share, "chance of each of two earlier turns before the last question");
    visit("usefulness_mean", usefulness_mean, "mean weight of helpfulness (0..1) in a user's log-odds of a heart");
    visit("usefulness_spread", usefulness_spread, "standard deviation of that weight over users");
    visit("warmth_mean", warmth_mean, "mean weight of warmth (0..1)");
    visit("warmth_spread", warmth_spread, "standard deviation of that weight");
    visit("length_mean", length_mean, "mean weight of length, in units of 15 words from 25");
    visit("length_spread", length_spread, "standard deviation of that weight");
    visit("parting_share", parting_share, "share of users who answer a goodbye with a heart out of habit");
    visit("parting_love", parting_love, "log-odds that a goodbye adds for those users");
    visit("closing_dislike", closing_dislike, "log-odds that a goodbye adds for all other users");
    visit("user_spread", user_spread, "standard deviation of users' own log-odds");
    visit("companion_bonus", companion_bonus, "log-odds added in relationships, roleplay and casual chat");
    visit("unsafe_dislike", unsafe_dislike, "log-odds times (1 - safety)");
    visit("refusal_dislike", refusal_dislike, "log-odds that being refused adds, right or not");
    visit("closing_harm", closing_harm, "true helpfulness lost by ending the conversation");
    visit("padding_harm", padding_harm, "share of true helpfulness lost by 30 words too many");
    visit("love_intercept", love_intercept, "found by bisection so that old policies get simulate.love_rate");
  }
};

/// Hidden taste of a user; log-odds weights.
struct UserTaste {
  double base = 0, usefulness = 0, warmth = 0, length = 0, closing = 0;
  double activity = 1;  ///< unnormalised
};

/// What users react to in a response.
struct LoveFeatures {
  double helpfulness = 0, warmth = 0;
  double length = 0;   ///< (words - 25) / 15, within -2 and 3
  double closing = 0;  ///< 0 or 1
  double offset = 0;   ///< the same for all users: safety, refusals, topic
};
/// Log-odds of a heart, without the world's intercept.
double love_log_odds(const UserTaste& taste, const LoveFeatures& features);

class World {
 public:
  explicit World(const WorldParameters& parameters);
  static World from_file(const std::string& path);  ///< world.json of the simulate stage
  nlohmann::json to_json() const;
  const WorldParameters& parameters() const { return parameters_; }

  ResponseTruth judge(const std::vector<Message>& prompt, const std::string& response) const;
  std::int64_t num_users() const;
  /// Chance that this user gives a heart to this response, given its truth. Pure function.
  double love_probability(std::int64_t user, const std::vector<Message>& prompt, const ResponseTruth& truth) const;
  LoveFeatures features(const std::vector<Message>& prompt, const ResponseTruth& truth) const;
  UserTaste taste(std::int64_t user) const;
  /// Prompt that a user asks in conversation `conversation`: a pure function of the world's seed and its arguments.
  std::vector<Message> prompt_of(std::int64_t user, std::int64_t conversation) const;
  /// Topic of a prompt ("harm" for harmful requests, "other" where none is known).
  std::string use_case(const std::vector<Message>& prompt) const;
  /// How a style answers; draws from `random`.
  std::string respond(const WritingStyle& style, const std::vector<Message>& prompt, RandomStream& random) const;

 private:
  WorldParameters parameters_;
};

}  // namespace rluf
