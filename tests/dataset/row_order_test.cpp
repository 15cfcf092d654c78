#include "row_order.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>

#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/pipeline/dataset/selection.hpp"

namespace rluf {
namespace {

constexpr std::int64_t kNumRows = 60000;  ///< more than a rank keeps in memory or sorts at once

OrderKey by_time(const Row& row) { return {row.timestamp, row.line}; }

/// Row i of a file: times go up and down, every third key occurs again.
Row row_of(std::int64_t i, int owner) {
  const auto key = static_cast<std::uint64_t>(i % 3 == 0 ? i % 6000 : i);
  return {.line = i + 1,
          .timestamp = i * 7919 % 1009,
          .key = {siphash({1, 2}, std::to_string(key)), key},
          .owners = {owner, owner}};
}

class RowOrderTest : public testing::Test {
 protected:
  /// Row i is with rank i mod size, as a file is read.
  Rows rows_as_read() {
    Rows rows(beside_);
    for (std::int64_t i = comm_.rank(); i < kNumRows; i += comm_.size()) rows.append(row_of(i, comm_.rank()));
    return rows;
  }
  Communicator comm_ = Communicator::world();
  std::string beside_ = (std::filesystem::temp_directory_path() / "rluf_row_order").string();
};

TEST_F(RowOrderTest, ListsAreReadInAnySlices) {
  const Rows rows = rows_as_read();
  std::int64_t i = 0;
  const auto expect_next = [&](const Row& row) { EXPECT_EQ(row.line, comm_.rank() + comm_.size() * i++ + 1); };
  rows.for_each(expect_next);
  EXPECT_EQ(i, rows.size());
  i = 0;
  for (const Row& row : rows.slice(0, rows.size() + 5)) expect_next(row);
  EXPECT_EQ(i, rows.size());
  EXPECT_EQ(rows.at(12345).line, comm_.rank() + comm_.size() * 12345 + 1);
  EXPECT_TRUE(rows.slice(rows.size(), rows.size() + 5).empty());
}

TEST_F(RowOrderTest, RanksHoldEqualPartsOfOneOrder) {
  std::vector<OrderKey> expected;
  for (std::int64_t i = 0; i < kNumRows; ++i) expected.push_back(by_time(row_of(i, 0)));
  std::sort(expected.begin(), expected.end());
  const Rows sorted = sort_rows(rows_as_read(), by_time, comm_);
  EXPECT_NEAR(static_cast<double>(sorted.size()), static_cast<double>(kNumRows) / comm_.size(), 0.05 * kNumRows);
  auto next = expected.begin() + comm_.exclusive_scan(sorted.size());
  std::int64_t num_wrong = 0;
  sorted.for_each([&](const Row& row) { num_wrong += by_time(row) != *next++; });
  EXPECT_EQ(num_wrong, 0);
}

TEST_F(RowOrderTest, OfEqualKeysTheFirstInTheOrderStays) {
  std::map<std::uint64_t, OrderKey> first;
  for (std::int64_t i = 0; i < kNumRows; ++i) {
    const Row row = row_of(i, 0);
    const auto [known, is_new] = first.emplace(row.key[1], by_time(row));
    if (!is_new) known->second = std::min(known->second, by_time(row));
  }
  const Rows marked = mark_repeated(rows_as_read(), by_time, comm_);
  std::int64_t num_wrong = 0, num_kept = 0;
  marked.for_each([&](const Row& row) {
    num_wrong += (row.dropped == 0) != (by_time(row) == first.at(row.key[1]));
    num_kept += row.dropped == 0;
  });
  EXPECT_EQ(num_wrong, 0);
  EXPECT_EQ(comm_.all_reduce(num_kept), static_cast<std::int64_t>(first.size()));
  EXPECT_EQ(comm_.all_reduce(marked.size()), kNumRows);
}

TEST_F(RowOrderTest, SlicesAreBoundedAndEndTogether) {
  Rows rows(beside_);
  for (std::int64_t i = 0; i < 100 * comm_.rank(); ++i) rows.append(row_of(i, comm_.rank()));
  const std::int64_t max_bytes = 10 * static_cast<std::int64_t>(sizeof(Row)) + 50;
  std::int64_t num_seen = 0, num_slices = 0;
  for_slices(
      rows, max_bytes, comm_,
      [&](const std::vector<Row>& slice) {
        EXPECT_EQ(comm_.all_reduce(num_slices, Reduce::kMax), num_slices);
        ++num_slices;
        if (std::ssize(slice) > 1) {
          EXPECT_LE(slice.size(), 10u);
        }
        for (const Row& row : slice) EXPECT_EQ(row.line, ++num_seen);
      },
      [](const Row& row) { return row.line % 50 == 0 ? 5000 : 0; });  // more than a slice may hold
  EXPECT_EQ(num_seen, rows.size());
}

TEST_F(RowOrderTest, AnErrorInOneSliceIsAnErrorOfAllRanks) {
  std::int64_t num_slices = 0;
  EXPECT_THROW(for_slices(rows_as_read(), 1 << 16, comm_,
                          [&](const std::vector<Row>&) {
                            if (++num_slices == 2 && comm_.rank() == comm_.size() - 1)
                              fail_input("cannot write", "the disk is full", "free space");
                          }),
               Error);
  EXPECT_LE(num_slices, 2);
}

TEST_F(RowOrderTest, WithoutAFolderTheErrorSaysWhere) {
  beside_ = "/nonexistent/love.h5";
  try {
    rows_as_read();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("temporary file beside /nonexistent/love.h5"), std::string::npos);
  }
}

}  // namespace
}  // namespace rluf
