#include "rluf/pipeline/validation/ab_test.hpp"

#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kAbRound = std::uint64_t{1} << 42;
/// Far from the steps of the world's own streams, which count draws and users.
constexpr std::uint64_t kDealing = (std::uint64_t{1} << 62) + 1, kHearts = (std::uint64_t{1} << 62) + 2;
constexpr std::int64_t kMostConversations = std::int64_t{1} << 24;  ///< of one user
/// The arm answers this many times prompts_per_batch prompts at a time, so that only these stand in memory.
constexpr std::int64_t kBatchesAtOnce = 64;

std::int64_t conversation_id(std::int64_t user, std::int64_t k) { return user * kMostConversations + k; }

/// A conversation of the test and its user's place in the arm's columns.
struct Visit {
  std::int64_t user, k;
  std::size_t column;
};

}  // namespace

std::int64_t arm_of_user(std::int64_t user, std::int64_t num_arms, std::uint64_t seed) {
  RandomStream random(seed, Purpose::kSplit, kDealing, static_cast<std::uint64_t>(user));
  return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(num_arms)));
}

std::vector<std::int64_t> responses_of_users(const World& world, std::int64_t num_users, double mean) {
  std::vector<double> activities;
  double total = 0;
  for (std::int64_t user = 0; user < num_users; ++user) {
    activities.push_back(world.taste(user).activity);
    total += activities.back();
  }
  std::vector<std::int64_t> responses;
  for (const double activity : activities)
    responses.push_back(std::clamp<std::int64_t>(std::llround(mean * activity * static_cast<double>(num_users) / total),
                                                 1, std::llround(10 * mean)));
  return responses;
}

std::int64_t ab_conversation(std::int64_t k) { return (std::int64_t{1} << 61) + k; }

bool gives_heart(double chance, std::uint64_t seed, std::int64_t user, std::int64_t k) {
  RandomStream random(seed, Purpose::kSimulation, kHearts, static_cast<std::uint64_t>(conversation_id(user, k)));
  return random.uniform() < chance;
}

AbArm run_ab_arm(const Arm& arm, const ArmModel& model, std::int64_t position, std::int64_t num_arms,
                 const Yardstick& yardstick, const ValidationOptions& options, const StageContext& context) {
  const World& world = yardstick.world.value();
  const std::int64_t num_users = options.ab_users > 0 ? options.ab_users : world.num_users();
  const auto responses = responses_of_users(world, num_users, options.ab_responses_per_user);
  AbArm result{.name = arm.name, .love_weight = arm.love_weight};
  std::vector<Visit> visits;
  for (std::int64_t user = 0; user < num_users; ++user) {
    if (arm_of_user(user, num_arms, context.seed()) != position) continue;
    const std::int64_t count = responses[static_cast<std::size_t>(user)];
    for (std::int64_t k = 0; k < count; ++k) visits.push_back({user, k, result.responses.size()});
    result.responses.push_back(static_cast<double>(count));
  }
  for (auto* column :
       {&result.hearts, &result.love_chances, &result.closings, &result.helpfulness, &result.safety, &result.tokens})
    column->assign(result.responses.size(), 0.0);

  const auto at_once = static_cast<std::size_t>(options.batching.prompts_per_batch * kBatchesAtOnce);
  Progress progress("validate A/B " + arm.name, "responses", static_cast<long>(visits.size()));
  for (std::size_t first = 0; first < visits.size(); first += at_once) {
    const std::span group(visits.begin() + static_cast<std::ptrdiff_t>(first),
                          std::min(at_once, visits.size() - first));
    std::vector<std::vector<Message>> prompts;
    std::vector<std::int64_t> ids;
    for (const Visit& visit : group) {
      prompts.push_back(world.prompt_of(visit.user, ab_conversation(visit.k)));
      ids.push_back(conversation_id(visit.user, visit.k));
    }
    const auto answers = model.answer(prompts, ids, 1, kAbRound);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const auto& [user, k, column] = group[i];
      const Answer& answer = answers[i][0];
      const ResponseTruth truth = world.judge(prompts[i], answer.text);
      const double chance = world.love_probability(user, prompts[i], truth);
      result.hearts[column] += gives_heart(chance, context.seed(), user, k) ? 1 : 0;
      result.love_chances[column] += chance;
      result.closings[column] += contains_any(normalized_text(answer.text), yardstick.closing_phrases) ? 1 : 0;
      result.helpfulness[column] += truth.helpfulness;
      result.safety[column] += truth.safety;
      result.tokens[column] += answer.num_tokens();
    }
    progress.update(static_cast<long>(first + group.size()));
  }
  return result;
}

}  // namespace rluf
