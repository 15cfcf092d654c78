#pragma once
/// Ranks arranged as data x shard x tensor axes, and who holds what.
#include <string>
#include <vector>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Rank (d, s, t) is number (d * shard + s) * tensor + t: the tensor axis is innermost.
struct ProcessGrid {
  Communicator world;
  Communicator data;      ///< ranks with other examples that hold the same part of the model
  Communicator shard;     ///< ranks with other examples that share a model's optimiser state, gradients and weights
  Communicator tensor;    ///< ranks with the same examples that share each matrix
  Communicator replicas;  ///< data and shard together: ranks with other examples; rank d * shard + s

  /// @collective over all ranks @throws Error(kBadInput) if shard x tensor does not divide the number of ranks
  static ProcessGrid make(std::int64_t shard_size = 1, std::int64_t tensor_size = 1);
  std::string picture() const;
  /// Whether each group of the tensor axis shares a node's memory. @collective
  bool tensor_axis_within_nodes() const;
};

/// Part of 0..n-1 that belongs to `rank` of `size`: contiguous, sizes differ by one at most. The only shard map.
struct Range {
  std::int64_t first = 0, last = 0;  ///< [first, last)
  std::int64_t count() const { return last - first; }
  bool operator==(const Range&) const = default;
};
Range shard_range(std::int64_t n, int size, int rank);
/// The parts of all ranks.
std::vector<Range> shard_ranges(std::int64_t n, int size);

}  // namespace rluf
