#pragma once
/// One rank's way through a dry run.
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "rluf/pipeline/plan/plan.hpp"

namespace rluf {

/// Which ranks of a tensor a rank writes to a checkpoint, or holds.
struct Slab {
  std::string tensor;
  Range rows;
  std::int64_t num_rows = 0;
  bool operator<(const Slab& other) const {
    return std::tie(tensor, rows.first, rows.last) < std::tie(other.tensor, other.rows.first, other.rows.last);
  }
};

/// The grid's groups, numbered: all ranks, then the data, shard, tensor axes and replicas.
struct Groups {
  int data, shard, tensor;
  std::vector<std::vector<int>> members;
  std::vector<std::string> names;

  Groups(int num_ranks, const ParallelOptions& parallel)
      : data(num_ranks / static_cast<int>(parallel.shard * parallel.tensor)),
        shard(static_cast<int>(parallel.shard)),
        tensor(static_cast<int>(parallel.tensor)),
        members(static_cast<std::size_t>(1 + shard * tensor + data * tensor + data * shard + tensor)),
        names(members.size()) {
    for (int rank = 0; rank < num_ranks; ++rank)
      for (const auto& [axis, group] : of(rank)) {
        members[static_cast<std::size_t>(group)].push_back(rank);
        names[static_cast<std::size_t>(group)] = axis;
      }
  }
  /// The numbers of a rank's groups by axis.
  std::map<std::string, int> of(int rank) const {
    const int t = rank % tensor, s = rank / tensor % shard, d = rank / tensor / shard;
    const int first_shard = 1 + shard * tensor, first_tensor = first_shard + data * tensor;
    return {{"world", 0},
            {"data", 1 + s * tensor + t},
            {"shard", first_shard + d * tensor + t},
            {"tensor", first_tensor + d * shard + s},
            {"replicas", first_tensor + data * shard + t}};
  }
  ProcessGrid grid(int rank, const std::shared_ptr<CollectiveLog>& log) const {
    const auto groups = of(rank);
    const auto axis = [&](const char* name) {
      const int group = groups.at(name);
      const auto& ranks = members[static_cast<std::size_t>(group)];
      const auto place = std::lower_bound(ranks.begin(), ranks.end(), rank) - ranks.begin();
      return Communicator::recorded(static_cast<int>(place), static_cast<int>(ranks.size()), group, log);
    };
    return {axis("world"), axis("data"), axis("shard"), axis("tensor"), axis("replicas")};
  }
};

struct Walked {
  CollectiveLog log;
  std::vector<Slab> slabs;
  std::vector<std::pair<std::string, std::int64_t>> peaks;        ///< of each stage with tensors @unit bytes
  std::map<std::string, std::map<std::string, Traffic>> traffic;  ///< by axis and collective
};
/// A step of each stage.
Walked walk(const PlanInput& input, const ParallelOptions& parallel, const Groups& groups, int rank);

}  // namespace rluf
