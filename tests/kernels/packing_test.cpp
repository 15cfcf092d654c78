#include "rluf/kernels/packing.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(PackRanges, FillsGreedilyAndLosesNothing) {
  const std::vector<std::int64_t> lengths{4, 4, 3, 20, 1, 1, 9};
  const auto ranges = pack_ranges(lengths, 10);
  std::vector<std::pair<std::int64_t, std::int64_t>> got;
  for (const auto& range : ranges) got.emplace_back(range.first, range.last);
  EXPECT_EQ(got, (std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 2}, {2, 3}, {3, 4}, {4, 6}, {6, 7}}));
  EXPECT_TRUE(pack_ranges({}, 10).empty());
}

TEST(Documents, PositionsAndIdsRestart) {
  const std::vector<std::int64_t> offsets{0, 3, 3, 4, 6};
  std::vector<std::int64_t> positions(6), ids(6);
  document_positions(offsets, positions);
  document_ids(offsets, ids);
  EXPECT_EQ(positions, (std::vector<std::int64_t>{0, 1, 2, 0, 0, 1}));
  EXPECT_EQ(ids, (std::vector<std::int64_t>{0, 0, 0, 2, 3, 3}));
  EXPECT_THROW(document_ids(offsets, std::span<std::int64_t>(ids).first(5)), std::logic_error);
}

}  // namespace
}  // namespace rluf
