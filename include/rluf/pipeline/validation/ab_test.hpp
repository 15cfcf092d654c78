#pragma once
/// The A/B test in the simulated world: users are dealt to the arms, ask their own prompts and give hearts.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/pipeline/simulation/world.hpp"
#include "rluf/pipeline/validation/ab_statistics.hpp"
#include "rluf/pipeline/validation/arms.hpp"
#include "rluf/pipeline/validation/held_out.hpp"

namespace rluf {

/// The arm that serves a user in the whole test: a pure function of (seed, user), uniform over the arms.
std::int64_t arm_of_user(std::int64_t user, std::int64_t num_arms, std::uint64_t seed);

/// How often each user asks: in proportion to his activity, `mean` on average before rounding, at least once and at
/// most 10 * mean times. @return [num_users]
std::vector<std::int64_t> responses_of_users(const World& world, std::int64_t num_users, double mean);

/// Number of a user's k-th conversation of the test in World::prompt_of: the log counts from 0, other files of the
/// simulate stage start at multiples of 2^40, this test at 2^61.
std::int64_t ab_conversation(std::int64_t k);

/// Whether the user gives a heart of this chance in conversation k: a pure function of its arguments.
bool gives_heart(double chance, std::uint64_t seed, std::int64_t user, std::int64_t k);

/// Sums of every user of an arm. @shape all [num_users]
struct AbArm {
  std::string name;
  std::optional<double> love_weight;
  std::vector<double> responses, hearts, love_chances, closings, helpfulness, safety, tokens;
};

/// Lets the arm answer all conversations of its users. @collective, equal on all ranks
AbArm run_ab_arm(const Arm& arm, const ArmModel& model, std::int64_t position, std::int64_t num_arms,
                 const Yardstick& yardstick, const ValidationOptions& options, const StageContext& context);

/// The sample-ratio check, rates, comparisons and numbers of users needed. Pure function.
nlohmann::json ab_table(const std::vector<AbArm>& arms, const ValidationOptions& options);

}  // namespace rluf
