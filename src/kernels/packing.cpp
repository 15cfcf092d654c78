#include "rluf/kernels/packing.hpp"

#include <Kokkos_Core.hpp>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>;

void check_offsets(std::span<const std::int64_t> offsets, std::size_t num_tokens) {
  RLUF_ASSERT(!offsets.empty() && offsets.front() == 0 && offsets.back() == static_cast<std::int64_t>(num_tokens));
}

}  // namespace

std::vector<PackRange> pack_ranges(std::span<const std::int64_t> lengths, std::int64_t max_tokens) {
  std::vector<PackRange> ranges;
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(lengths.size()); ++i) {
    const std::int64_t length = lengths[static_cast<std::size_t>(i)];
    if (ranges.empty() || tokens + length > max_tokens) {
      ranges.push_back({i, i});
      tokens = 0;
    }
    ranges.back().last = i + 1;
    tokens += length;
  }
  return ranges;
}

void document_positions(std::span<const std::int64_t> offsets, std::span<std::int64_t> out) {
  check_offsets(offsets, out.size());
  Kokkos::parallel_for("document_positions", Policy(0, static_cast<std::int64_t>(offsets.size()) - 1),
                       [=](const std::int64_t d) {
                         const std::int64_t first = offsets[static_cast<std::size_t>(d)],
                                            last = offsets[static_cast<std::size_t>(d) + 1];
                         for (std::int64_t t = first; t < last; ++t) out[static_cast<std::size_t>(t)] = t - first;
                       });
}

void document_ids(std::span<const std::int64_t> offsets, std::span<std::int64_t> out) {
  check_offsets(offsets, out.size());
  Kokkos::parallel_for(
      "document_ids", Policy(0, static_cast<std::int64_t>(offsets.size()) - 1), [=](const std::int64_t d) {
        for (std::int64_t t = offsets[static_cast<std::size_t>(d)]; t < offsets[static_cast<std::size_t>(d) + 1]; ++t)
          out[static_cast<std::size_t>(t)] = d;
      });
}

}  // namespace rluf
