#pragma once
/// A run on ranks that are not there: every rank goes through a step of each stage, with the run's own code on tensors
/// without storage, and what they would say to each other is compared.
#include <map>
#include <string>
#include <vector>

#include "rluf/model/layout.hpp"
#include "rluf/pipeline/plan/plan.hpp"

namespace rluf {

struct DryStage {
  std::string name;
  std::int64_t fewest_bytes = 0, most_bytes = 0;  ///< memory of tensors at the peak, over all ranks
  int fullest_rank = 0;
};

struct DryRun {
  std::vector<DryStage> stages;
  std::int64_t num_calls = 0;                                     ///< collectives of all ranks
  std::int64_t num_tensors = 0;                                   ///< whose parts were checked to cover them once
  std::map<std::string, std::map<std::string, Traffic>> traffic;  ///< of rank 0, by axis and collective
};

/// @throws Error(kBadInput) naming the first collective that its group's ranks do not call together (a hang), or the
/// first tensor that the ranks' parts do not cover exactly once
DryRun dry_run(const PlanInput& input, const ParallelOptions& parallel);

/// Ranks by the groups that they belong to, and each rank's calls in its order: they are matched as the ranks would
/// wait for each other. @throws Error(kBadInput) naming the first pair that never meets
void match_calls(const std::vector<std::vector<int>>& groups, const std::vector<CollectiveLog>& logs);

}  // namespace rluf
