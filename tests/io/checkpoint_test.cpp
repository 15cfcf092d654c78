#include "rluf/io/checkpoint.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

class Checkpoint : public testing::Test {
 protected:
  Communicator world = Communicator::world();
  std::string folder = testing::TempDir() + "rluf_checkpoint_" + std::to_string(world.size());
  void SetUp() override {
    on_root([&] { fs::remove_all(folder); });
  }
  void on_root(const std::function<void()>& action) const {
    if (world.rank() == 0) action();
    world.barrier();
  }
  std::string path(int step) const { return folder + "/step_0000000" + std::to_string(step) + ".h5"; }
  static CheckpointState state(std::int64_t step) {
    CheckpointState state{.stage = "test", .step = step, .values = {{"seed", 7}, {"text", "ä\"\n"}}, .tensors = {}};
    state.tensors.emplace_back("weights/a", at::arange(7 * 3, at::kFloat).view({7, 3}) + step);
    state.tensors.emplace_back("weights/b", at::arange(2500000, at::kFloat));  // three blocks of checksums
    state.tensors.emplace_back("half", at::arange(5, at::kFloat).to(at::kBFloat16));
    state.tensors.emplace_back("count", at::full({}, 3, at::kLong));
    return state;
  }
};

TEST_F(Checkpoint, ReadsWhatItWrote) {
  write_checkpoint(folder, state(3), world);
  const auto read = read_newest_checkpoint(folder, world);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->step, 3);
  EXPECT_EQ(read->values, state(3).values);
  const auto expected = state(3).tensors;
  ASSERT_EQ(read->tensors.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(read->tensors[i].first, expected[i].first);
    EXPECT_EQ(read->tensors[i].second.scalar_type(), expected[i].second.scalar_type());
    EXPECT_TRUE(at::equal(read->tensors[i].second, expected[i].second)) << expected[i].first;
  }
  // One rank alone reads what all wrote.
  EXPECT_EQ(read_checkpoint(path(3), Communicator::self()).step, 3);
}

TEST_F(Checkpoint, KeepsTheNewestAndStartsEmpty) {
  EXPECT_FALSE(read_newest_checkpoint(folder, world));
  for (int step = 1; step <= 4; ++step) write_checkpoint(folder, state(step), world, 2);
  EXPECT_FALSE(fs::exists(path(2)));
  EXPECT_TRUE(fs::exists(path(3)));
  EXPECT_EQ(read_newest_checkpoint(folder, world)->step, 4);
}

TEST_F(Checkpoint, FallsBackWhenTheNewestIsDamaged) {
  write_checkpoint(folder, state(1), world);
  write_checkpoint(folder, state(2), world);
  const auto size = fs::file_size(path(2));
  std::string original;
  on_root([&] {
    std::ifstream file(path(2), std::ios::binary);
    original.assign(std::istreambuf_iterator<char>(file), {});
  });
  RandomStream random(5, Purpose::kSimulation);
  for (int trial = 0; trial < 12; ++trial) {
    const std::uint64_t position = random.below(size);
    on_root([&] {
      std::string damaged = original;
      if (trial < 9) {
        damaged[position] = static_cast<char>(damaged[position] ^ (1 << trial % 8));
      } else {
        damaged.resize(trial == 9 ? 0 : trial == 10 ? size / 2 : size - 1);
      }
      std::ofstream(path(2), std::ios::binary) << damaged;
    });
    const auto read = read_newest_checkpoint(folder, world);
    ASSERT_TRUE(read);
    // Either the damage is seen and the older one is taken, or it hit nothing that is read: never wrong numbers.
    for (const auto& [name, tensor] : read->tensors) {
      for (const auto& [expected_name, expected] : state(read->step).tensors) {
        if (name == expected_name) {
          EXPECT_TRUE(at::equal(tensor, expected)) << name << " at " << position;
        }
      }
    }
    if (trial >= 9) {
      EXPECT_EQ(read->step, 1);
    }
  }
}

TEST_F(Checkpoint, AnUnfinishedFileIsNoCheckpoint) {
  write_checkpoint(folder, state(1), world);
  on_root([&] { fs::copy_file(path(1), path(2) + ".part"); });
  EXPECT_EQ(read_newest_checkpoint(folder, world)->step, 1);
  world.barrier();
  EXPECT_FALSE(fs::exists(path(2) + ".part"));
}

TEST_F(Checkpoint, OtherFilesAreRefused) {
  on_root([&] {
    fs::create_directories(folder);
    std::ofstream(folder + "/text.h5") << "no HDF5";
  });
  EXPECT_THROW(Hdf5File::open(folder + "/text.h5", world), Error);
  EXPECT_THROW(Hdf5File::open(folder + "/missing.h5", world), Error);
  {
    Hdf5File file = Hdf5File::create(folder + "/other.h5", world);
    file.create_dataset("x", at::kInt, {4});
    const Range rows = shard_range(4, world.size(), world.rank());
    file.write_rows("x", rows.first, at::arange(rows.first, rows.last, at::kInt));
    file.create_dataset("nothing", at::kFloat, {0, 3});
    file.write_rows("nothing", 0, at::empty({0, 3}));
    file.commit();
  }
  EXPECT_THROW(read_checkpoint(folder + "/other.h5", world), Error);
  const Hdf5File file = Hdf5File::open(folder + "/other.h5", world);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"nothing", "x"}));
  EXPECT_TRUE(at::equal(file.read_rows("x", 1, 3), at::arange(1, 3, at::kInt)));
  EXPECT_THROW(file.read_rows("x", 1, 5), Error);
  EXPECT_THROW(file.read("y"), Error);
}

}  // namespace
}  // namespace rluf
