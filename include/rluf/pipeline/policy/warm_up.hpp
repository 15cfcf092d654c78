#pragma once
/// Offline DPO on the helpfulness pairs before the rounds.
#include <nlohmann/json.hpp>
#include <string>

#include "rluf/pipeline/policy/policy.hpp"

namespace rluf {

/// Trains a copy of `base` on data/helpfulness.h5 for policy.warm_up_steps steps, with `base` as DPO's reference, and
/// makes models/warm_up: where all policies start, and the reference of their rounds. Continues from its newest
/// checkpoint; its numbers do not depend on the number of ranks. `table` gets what came out, with the share of held-out
/// pairs whose chosen answer gained on `base` more than the rejected one. @collective
/// @throws Error(kBadInput) if there is no data/helpfulness.h5, Error(kBadData) after bad steps, Error(kStopped)
/// @return the folder models/warm_up
std::string warm_up(const PolicyOptions& options, const std::string& base, const StageContext& context,
                    nlohmann::json& table);

/// How the warm-up is trained: policy.* with its own steps, batch and learning rate.
TrainOptions warm_up_training(const PolicyOptions& options, std::int64_t num_pairs);

}  // namespace rluf
