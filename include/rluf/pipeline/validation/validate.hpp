#pragma once
/// The validate stage: the policies and the reference side by side, offline and, in a simulated world, by an A/B test.
#include <cstdint>

#include "rluf/config/option_table.hpp"
#include "rluf/kernels/sampling.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct ValidationOptions {
  std::int64_t max_prompts = 0;         ///< held-out prompts; 0: all
  std::int64_t samples_per_prompt = 4;  ///< answers of each arm to each held-out prompt
  std::int64_t max_new_tokens = 0;      ///< 0: as policy.max_new_tokens
  SamplingOptions sampling;
  BatchingOptions batching{.prompts_per_batch = 64};
  std::int64_t micro_batch_tokens = 2048;
  std::int64_t bootstrap_replicates = 1000;
  bool ab = true;                      ///< only in a simulated world
  std::int64_t ab_users = 0;           ///< 0: the whole population
  double ab_responses_per_user = 8.0;  ///< on average
  double ab_alpha = 0.05, ab_power = 0.8;
  void describe(OptionTable& table);
};

/// Every arm answers the same held-out prompts; the reward models that exist score the answers. In a simulated world
/// users are then dealt to the arms at random, ask prompts that were never asked before, and give hearts by their true
/// taste. Writes tables/validation.json: "arms", "differences" (paired bootstrap over prompts), "ab" (delta method over
/// users), "offline_online", and in each policy's row of "alarms" what find_alarms() says of its answers. Closing
/// phrases are policy.closing_phrases. Not a digit depends on the number of ranks, but for the last ones of
/// floating-point scores. @collective
/// @memory the models of one arm, the reference and the reward models, and the answers of one arm
/// @throws Error(kBadInput) if a policy is missing, Error(kStopped) after a stop signal
void run_validate(const ValidationOptions& options, const PolicyOptions& policy, const AlarmOptions& alarms,
                  const DataOptions& data, const StageContext& context);

}  // namespace rluf
