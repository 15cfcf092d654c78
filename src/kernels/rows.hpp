#pragma once
#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cstdint>

namespace rluf {

/// row(0) to row(num_rows - 1), on all threads; at most `few` are done before other threads would have heard of them.
template <class Row>
void for_rows(const char* name, std::int64_t num_rows, std::int64_t few, const Row& row) {
  if (num_rows > few) {
    Kokkos::parallel_for(name, Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, num_rows), row);
  } else {
    for (std::int64_t r = 0; r < num_rows; ++r) row(r);
  }
}

constexpr std::int64_t kElementBlock = std::int64_t{1} << 14;  ///< elements that a thread takes at a time

/// action(block, first, count) for the elements [first, first + count) of each block of 0 to n - 1.
template <class Action>
void for_blocks(const char* name, std::int64_t n, const Action& action) {
  for_rows(name, (n + kElementBlock - 1) / kElementBlock, 1, [&](const std::int64_t block) {
    const std::int64_t first = block * kElementBlock;
    action(static_cast<std::size_t>(block), first, std::min(kElementBlock, n - first));
  });
}

}  // namespace rluf
