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

TEST_F(Collectives, GatherAndScatterTensorParts) {
  // Rank r has r + 1 elements, one of them empty-handed on three ranks.
  std::vector<std::int64_t> counts;
  for (int r = 0; r < size; ++r) counts.push_back(size == 3 && r == 1 ? 0 : r + 1);
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const std::int64_t first = std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0});
  for (const auto type : {at::kFloat, at::kLong, at::kBFloat16}) {
    const at::Tensor all = at::arange(total, at::TensorOptions(type));
    const at::Tensor mine = all.narrow(0, first, counts[static_cast<std::size_t>(rank)]);
    EXPECT_TRUE(at::equal(world.all_gather(mine, counts), all));
    const at::Tensor sum = world.reduce_scatter((all * (rank + 1)).contiguous(), counts);
    EXPECT_TRUE(at::equal(sum, mine * (size * (size + 1) / 2)));
  }
  at::Tensor rows = at::full({2 * size, 3}, -1.0);
  std::vector<Range> ranges;  // of the ranks in the opposite order
  for (int r = 0; r < size; ++r) ranges.push_back({2 * (size - 1 - r), 2 * (size - r)});
  const Range here = ranges[static_cast<std::size_t>(rank)];
  rows.narrow(0, here.first, 2).fill_(rank);
  world.all_gather_rows(rows, ranges);
  for (int r = 0; r < size; ++r)
    EXPECT_TRUE(at::equal(rows.narrow(0, ranges[static_cast<std::size_t>(r)].first, 2), at::full({2, 3}, 1.0 * r)));
}

TEST_F(Collectives, GoOnBesideOthers) {
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(size), 3);
  const at::Tensor ones = at::ones({3 * size}), mine = at::full({3}, 1.0 * rank);
  const Communicator comm = world.split(0, rank);
  PendingCollective first = comm.start_all_gather(mine, counts), second = comm.start_reduce_scatter(ones, counts);
  EXPECT_EQ(comm.all_reduce(std::int64_t{1}), size) << "one that is waited for, between their start and their end";
  PendingCollective third = comm.start_all_gather(mine + 1, counts);
  EXPECT_TRUE(at::equal(second.wait(), at::full({3}, 1.0 * size))) << "waited for in another order";
  const at::Tensor all = first.wait();
  for (int r = 0; r < size; ++r) EXPECT_TRUE(at::equal(all.narrow(0, 3 * r, 3), at::full({3}, 1.0 * r)));
  EXPECT_EQ(third.wait().sum().item<double>(), 3 * size * (size + 1) / 2);
  if (size > 1) {
    EXPECT_EQ(comm.traffic().at("all_gather"), (Traffic{2, 2 * 3 * size * 4}));
  }
}

TEST_F(Collectives, Bfloat16SumsAreRoundedOnce) {
  // 256 + 1 + 1: rounded after each term it stays 256.
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(size), 1);
  const at::Tensor parts = at::full({size}, rank == 0 ? 256 : 1, at::kBFloat16);
  const double expected = at::scalar_tensor(255 + size).to(at::kBFloat16).item<double>();
  EXPECT_EQ(world.reduce_scatter(parts, counts).item<double>(), expected);
}

TEST_F(Collectives, TrafficIsCounted) {
  const Communicator comm = world.split(0, rank);
  at::Tensor tensor = at::ones({6, 5});
  comm.all_reduce(tensor);
  comm.all_gather_rows(tensor, shard_ranges(6, size));
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(size), 4);
  comm.reduce_scatter(at::ones({4 * size}, at::kLong), counts);
  if (size == 1) {
    EXPECT_TRUE(comm.traffic().empty()) << "nothing left this rank";
    return;
  }
  EXPECT_EQ(comm.traffic().at("all_reduce"), (Traffic{1, 6 * 5 * 4}));
  EXPECT_EQ(comm.traffic().at("all_gather"), (Traffic{1, 6 * 5 * 4}));
  EXPECT_EQ(comm.traffic().at("reduce_scatter"), (Traffic{1, 4 * size * 8}));
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

TEST_F(Collectives, GuardsInsideOfGuards) {
  // The failing rank does not come to the inner guard at all; all ranks leave with its message nevertheless.
  const int failing = size - 1;
  try {
    guarded(world, [&] {
      if (rank == failing) fail_data("broken", "why", "what to do");
      guarded(world, [] {});
      guarded(world, [] {});
    });
    ADD_FAILURE() << "no error";
  } catch (const SharedError& error) {
    EXPECT_EQ(error.origin(), failing);
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_EQ(error.is_origin(), rank == failing);
  }
  EXPECT_EQ(world.all_reduce(std::int64_t{1}), size) << "collectives are still in step";
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
  if (size % 2 == 0) {
    const ProcessGrid grid = ProcessGrid::make(1, 2);
    EXPECT_EQ(grid.tensor.rank(), rank % 2);
    EXPECT_EQ(grid.replicas.size(), size / 2);
    EXPECT_EQ(grid.replicas.rank(), rank / 2);
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
