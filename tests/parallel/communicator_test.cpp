#include "rluf/parallel/communicator.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>
#include <numeric>

#include "rluf/parallel/process_grid.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {
namespace {

class Collectives : public testing::Test {
 protected:
  Communicator world = Communicator::world();
  int rank = world.rank(), size = world.size();
};

TEST_F(Collectives, ReduceScalarsAndVectors) {
  EXPECT_EQ(world.all_reduce(std::int64_t{rank + 1}), size * (size + 1) / 2);
  EXPECT_EQ(world.all_reduce(std::int64_t{rank}, Reduce::kMax), size - 1);
  EXPECT_EQ(world.all_reduce(std::int64_t{rank + 5}, Reduce::kMin), 5);
  EXPECT_DOUBLE_EQ(world.all_reduce(0.5 * rank), 0.25 * size * (size - 1));
  std::vector<double> values{1.0 * rank, 2.0};
  world.all_reduce(values);
  EXPECT_DOUBLE_EQ(values[0], 0.5 * size * (size - 1));
  EXPECT_DOUBLE_EQ(values[1], 2.0 * size);
}

TEST_F(Collectives, ReduceTensorsOfEveryType) {
  for (const auto type : {at::kFloat, at::kDouble, at::kLong, at::kInt, at::kBFloat16, at::kHalf}) {
    at::Tensor tensor = at::full({3, 5}, rank + 1, at::TensorOptions(type));
    world.all_reduce(tensor);
    EXPECT_TRUE(at::equal(tensor, at::full({3, 5}, size * (size + 1) / 2, at::TensorOptions(type))))
        << c10::toString(type);
  }
  at::Tensor empty = at::empty({0});
  world.all_reduce(empty);
}

TEST_F(Collectives, BroadcastFromAnyRoot) {
  for (int root = 0; root < size; ++root) {
    at::Tensor tensor = at::full({7}, rank);
    world.broadcast(tensor, root);
    EXPECT_TRUE(at::equal(tensor, at::full({7}, root)));
    EXPECT_EQ(world.broadcast(std::string(static_cast<std::size_t>(rank + 1), 'x'), root),
              std::string(static_cast<std::size_t>(root + 1), 'x'));
  }
}

TEST_F(Collectives, GatherRaggedParts) {
  std::vector<std::int64_t> mine(static_cast<std::size_t>(rank), rank), expected;
  std::vector<std::string> texts;
  for (int r = 0; r < size; ++r) {
    expected.insert(expected.end(), static_cast<std::size_t>(r), r);
    texts.push_back(r == 1 ? "" : std::string(3, static_cast<char>('a' + r)));
  }
  EXPECT_EQ(world.all_gather(mine), expected);
  EXPECT_EQ(world.all_gather(texts[static_cast<std::size_t>(rank)]), texts);
  EXPECT_EQ(world.exclusive_scan(rank + 1), rank * (rank + 1) / 2);
}

TEST_F(Collectives, ExchangeBetweenAll) {
  std::vector<std::string> to;
  for (int r = 0; r < size; ++r) to.push_back(std::string(static_cast<std::size_t>(r), static_cast<char>('a' + rank)));
  const auto from = world.all_to_all(to);
  for (int r = 0; r < size; ++r)
    EXPECT_EQ(from[static_cast<std::size_t>(r)],
              std::string(static_cast<std::size_t>(rank), static_cast<char>('a' + r)));
}

TEST_F(Collectives, AnErrorOnOneRankReachesAllWithItsCode) {
  for (int failing = 0; failing < size; ++failing) {
    try {
      guarded(world, [&] {
        if (rank >= failing) fail_data("row 3 is broken", "why", "do this");
      });
      FAIL() << "did not throw";
    } catch (const SharedError& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      EXPECT_STREQ(error.what(), "row 3 is broken (why): do this");
      EXPECT_EQ(error.origin(), failing);
      EXPECT_EQ(error.is_origin(), rank == failing);
    }
  }
  guarded(world, [] {});
  EXPECT_THROW(guarded(world, [] { throw std::runtime_error("plain"); }), SharedError);
}

TEST_F(Collectives, ARequestOnOneRankIsSeenByAll) {
  install_signal_handlers();
  EXPECT_EQ(requested(world), Request::kNone);
  stop_if_requested(world, "testing");
  if (rank == size - 1) std::raise(SIGUSR2);
  EXPECT_EQ(requested(world), Request::kCheckpoint);
  EXPECT_EQ(request_origin().rfind("USR2, 0.", 0), 0u) << request_origin();
  EXPECT_EQ(requested(world), Request::kNone) << "a checkpoint is asked for once";
  set_time_limit(1000, 10);
  note_checkpoint_seconds(20);
  EXPECT_EQ(requested(world), Request::kNone);
  note_checkpoint_seconds(995);
  EXPECT_EQ(requested(world), Request::kStop) << "no time for a checkpoint would be left";
  EXPECT_EQ(request_origin().rfind("the end of the job's time", 0), 0u) << request_origin();
  if (rank == size - 1) std::raise(SIGTERM);
  if (rank == size - 1) std::raise(SIGTERM);  // delivered twice at once, as some launchers do
  EXPECT_EQ(requested(world), Request::kStop);
  EXPECT_THROW(stop_if_requested(world, "testing"), Error);
  EXPECT_THROW(stop_here_if_requested("testing"), Error);
}

TEST_F(Collectives, GridAxesCoverTheRanks) {
  const ProcessGrid flat = ProcessGrid::make();
  EXPECT_EQ(flat.data.size(), size);
  EXPECT_EQ(flat.shard.size() * flat.tensor.size(), 1);
  EXPECT_NE(flat.picture().find(concat(size, " ranks")), std::string::npos);
  if (size == 4) {
    const ProcessGrid square = ProcessGrid::make(2, 1);
    EXPECT_EQ(square.data.size(), 2);
    EXPECT_EQ(square.shard.size(), 2);
    EXPECT_EQ(square.data.all_reduce(std::int64_t{rank}), rank % 2 == 0 ? 0 + 2 : 1 + 3);
    EXPECT_EQ(square.shard.all_reduce(std::int64_t{rank}), rank < 2 ? 0 + 1 : 2 + 3);
  }
  EXPECT_THROW(ProcessGrid::make(size + 1, 1), Error);
}

TEST(ShardRange, CoversEverythingOnceAndEvenly) {
  for (const std::int64_t n : {0, 1, 5, 16, 1000003})
    for (const int size : {1, 2, 3, 7}) {
      std::int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Range range = shard_range(n, size, rank);
        EXPECT_EQ(range.first, next);
        EXPECT_TRUE(range.count() == n / size || range.count() == n / size + 1);
        next = range.last;
      }
      EXPECT_EQ(next, n);
    }
}

}  // namespace
}  // namespace rluf
