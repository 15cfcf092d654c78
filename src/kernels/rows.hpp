#pragma once
#include <Kokkos_Core.hpp>
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

}  // namespace rluf
