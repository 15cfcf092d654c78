#pragma once
/// Ranks arranged as data x shard x tensor axes; only the data axis does work for now.
#include <string>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

struct ProcessGrid {
  Communicator world;
  Communicator data;    ///< ranks that hold different examples
  Communicator shard;   ///< ranks that share a model's optimiser and weights (size 1 now)
  Communicator tensor;  ///< ranks that share each matrix (size 1 now)

  /// @collective over all ranks @throws Error(kBadInput) if shard x tensor does not divide the number of ranks
  static ProcessGrid make(std::int64_t shard_size = 1, std::int64_t tensor_size = 1);
  std::string picture() const;
};

/// Part of 0..n-1 that belongs to `rank` of `size`: contiguous, sizes differ by one at most. The only shard map.
struct Range {
  std::int64_t first = 0, last = 0;  ///< [first, last)
  std::int64_t count() const { return last - first; }
};
Range shard_range(std::int64_t n, int size, int rank);

}  // namespace rluf
