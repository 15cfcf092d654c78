#include "rluf/parallel/work_counter.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace rluf {
namespace {

TEST(WorkCounter, EachNumberIsHandedOutOnce) {
  const Communicator world = Communicator::world();
  constexpr std::int64_t kTotal = 500;
  for (int repeat = 0; repeat < 3; ++repeat) {
    WorkCounter counter(world);
    std::vector<std::int64_t> mine;
    for (std::int64_t number = counter.next(); number < kTotal; number = counter.next()) mine.push_back(number);
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    std::vector<std::int64_t> all = world.all_gather(mine);
    std::sort(all.begin(), all.end());
    ASSERT_EQ(std::ssize(all), kTotal);
    for (std::int64_t i = 0; i < kTotal; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], i);
    EXPECT_FALSE(counter.is_closed());
    world.barrier();
    EXPECT_EQ(counter.num_handed_out(), kTotal + world.size()) << "each rank asked once in vain";
  }
}

TEST(WorkCounter, ClosedByOneItIsClosedForAll) {
  const Communicator world = Communicator::world();
  WorkCounter counter(world);
  counter.next();
  world.barrier();
  if (world.rank() == world.size() - 1) counter.close();
  world.barrier();
  EXPECT_TRUE(counter.is_closed());
  EXPECT_GT(counter.next(), std::int64_t{1} << 40);
  world.barrier();
  EXPECT_EQ(counter.num_handed_out(), 2 * world.size());
}

}  // namespace
}  // namespace rluf
