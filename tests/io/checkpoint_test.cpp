#include "rluf/io/checkpoint.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"
#include "rluf/io/checkpoint_writer.hpp"
#include "rluf/io/jsonl.hpp"

static std::atomic<bool> fail_in_threads = false;

/// Stands before the C library's: the disk is full for every thread but the main one.
extern "C" ssize_t pwrite(int file, const void* data, size_t count, off_t offset) {
  if (fail_in_threads && syscall(SYS_gettid) != getpid()) {
    errno = ENOSPC;
    return -1;
  }
  return syscall(SYS_pwrite64, file, data, count, offset);
}

namespace rluf {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
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
  void write(std::int64_t step, const Retention& retention = {}) const {
    Component component = made(step);
    write_checkpoint(
        folder, {"test", step, {{"seed", 7}, {"text", "\u00e4\"\n"}}},
        [&](StateArchive& archive) { component.describe(archive); }, world, retention);
  }

  /// Something with state of every kind.
  struct Component {
    std::int64_t counter = 0;
    Json names;
    at::Tensor weight, mine;  ///< equal on all ranks, and these rows of [7, 400000]
    Range rows;
    at::Tensor half, scalar;
    void describe(StateArchive& archive) {
      archive.number("counter", counter);
      archive.json("names", names);
      archive.tensor("weights/a", weight);
      archive.rows("moments/a", mine, {7, 400000}, rows);  // blocks of checksums end inside of rows
      archive.tensor("half", half);
      archive.tensor("scalar", scalar);
    }
  };
  static Component made(std::int64_t step, const Communicator& comm) {
    const Range rows = shard_range(7, comm.size(), comm.rank());
    return {step * 10,
            {"x", 1.5},
            at::arange(7 * 3, at::kFloat).view({7, 3}) + step,
            at::arange(7 * 400000, at::kFloat).view({7, 400000}).narrow(0, rows.first, rows.count()).clone() + step,
            rows,
            at::arange(5, at::kFloat).to(at::kBFloat16),
            at::full({}, 3, at::kLong)};
  }
  Component made(std::int64_t step) const { return made(step, world); }
  static Component empty(const Communicator& comm) {
    const Range rows = shard_range(7, comm.size(), comm.rank());
    return {0, {}, at::zeros({7, 3}), at::zeros({rows.count(), 400000}), rows, {}, {}};
  }
  /// Whether the component of that step comes back whole, on the ranks of comm.
  static void expect_whole(const Checkpoint& checkpoint, const Communicator& comm) {
    Component found = empty(comm);
    checkpoint.restore([&](StateArchive& archive) { found.describe(archive); });
    const Component expected = made(checkpoint.header().step, comm);
    EXPECT_EQ(found.counter, expected.counter);
    EXPECT_EQ(found.names, expected.names);
    EXPECT_TRUE(at::equal(found.weight, expected.weight));
    EXPECT_TRUE(at::equal(found.mine, expected.mine));
    EXPECT_TRUE(at::equal(found.half, expected.half));
    EXPECT_TRUE(at::equal(found.scalar, expected.scalar));
  }
};

TEST_F(CheckpointTest, ReadsWhatItWrote) {
  write(3);
  const auto read = Checkpoint::newest(folder, world);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->header().step, 3);
  EXPECT_EQ(read->header().stage, "test");
  EXPECT_EQ(read->header().identity, (Json{{"seed", 7}, {"text", "\u00e4\"\n"}}));
  expect_whole(*read, world);
  // One rank alone reads what all wrote.
  const Communicator self = Communicator::self();
  expect_whole(Checkpoint(path(3), self), self);
}

TEST_F(CheckpointTest, BytesDoNotDependOnTheNumberOfRanks) {
  write(3);
  const Communicator self = Communicator::self();
  const std::string alone = folder + "/alone" + std::to_string(world.rank());
  Component component = made(3, self);
  write_checkpoint(
      alone, {"test", 3, {}}, [&](StateArchive& archive) { component.describe(archive); }, self);
  EXPECT_EQ(Checkpoint(alone + "/step_00000003.h5", self).manifest().at("tensors"),
            Checkpoint(path(3), self).manifest().at("tensors"))
      << "shapes, types and checksums of every block";
}

TEST_F(CheckpointTest, AnotherShapeOrAMissingMemberIsNamed) {
  write(3);
  const Checkpoint checkpoint(path(3), world);
  const auto error_of = [&](const DescribeState& describe) -> std::string {
    try {
      checkpoint.restore(describe);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      return error.what();
    }
    return "no error";
  };
  at::Tensor other = at::zeros({7, 4});
  EXPECT_NE(error_of([&](StateArchive& a) { a.tensor("weights/a", other); }).find("[7,3], not [7,4]"),
            std::string::npos);
  EXPECT_NE(error_of([&](StateArchive& a) { a.tensor("weights/b", other); }).find("lacks weights/b"),
            std::string::npos);
  std::int64_t number = 0;
  EXPECT_NE(error_of([&](StateArchive& a) { a.number("steps", number); }).find("lacks steps"), std::string::npos);
  EXPECT_THROW(check_identity(checkpoint.header(), {{"seed", 8}}), Error);
}

TEST_F(CheckpointTest, KeepsTheNewestAndStartsEmpty) {
  EXPECT_FALSE(Checkpoint::newest(folder, world));
  for (int step = 1; step <= 6; ++step) write(step, {.keep_last = 2, .keep_every = 3});
  for (int step = 1; step <= 6; ++step) EXPECT_EQ(fs::exists(path(step)), step == 3 || step >= 5) << step;
  EXPECT_EQ(Checkpoint::newest(folder, world)->header().step, 6);
}

TEST_F(CheckpointTest, TheStateMayChangeWhileItIsWritten) {
  CheckpointWriter writer(folder, world, {});
  Component component = made(4);
  writer.begin({"test", 4, {}}, [&](StateArchive& archive) { component.describe(archive); });
  writer.state_will_change();
  component.weight.zero_();
  component.mine.zero_();
  component.scalar.zero_();
  EXPECT_EQ(writer.figures().step, -1) << "not complete before poll() or wait() says so";
  while (writer.figures().step < 0) writer.poll();
  EXPECT_EQ(writer.figures().step, 4);
  EXPECT_GT(writer.figures().num_bytes, 7 * 400000 * 4);
  expect_whole(*Checkpoint::newest(folder, world), world);
}

TEST_F(CheckpointTest, AWriteThatFailsIsReportedAndLeavesNothing) {
  write(1);
  CheckpointWriter writer(folder, world, {});
  Component component = made(2);
  fail_in_threads = world.rank() == world.size() - 1;  // a full disk as only one rank meets it
  writer.begin({"test", 2, {}}, [&](StateArchive& archive) { component.describe(archive); });
  try {
    writer.wait();
    ADD_FAILURE() << "a file that could not be written is called complete";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_NE(std::string(error.what()).find("cannot write: No space left on device"), std::string::npos);
  }
  fail_in_threads = false;
  world.barrier();
  EXPECT_FALSE(fs::exists(path(2)));
  EXPECT_FALSE(fs::exists(path(2) + ".part"));
  EXPECT_EQ(Checkpoint::newest(folder, world)->header().step, 1);
  write(3);
  EXPECT_EQ(Checkpoint::newest(folder, world)->header().step, 3) << "it goes on once there is space";
}

TEST_F(CheckpointTest, FallsBackWhenTheNewestIsDamaged) {
  write(1);
  write(2);
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
    const auto read = Checkpoint::newest(folder, world);
    ASSERT_TRUE(read);
    // Either the damage is seen and the older one is taken, or it hit nothing that is read: never wrong numbers.
    expect_whole(*read, world);
    if (trial >= 9) {
      EXPECT_EQ(read->header().step, 1);
    }
  }
}

TEST_F(CheckpointTest, AnUnfinishedFileIsNoCheckpoint) {
  write(1);
  on_root([&] { fs::copy_file(path(1), path(2) + ".part"); });
  EXPECT_EQ(Checkpoint::newest(folder, world)->header().step, 1);
  world.barrier();
  EXPECT_FALSE(fs::exists(path(2) + ".part"));
}

TEST_F(CheckpointTest, OtherFilesAreRefused) {
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
  EXPECT_THROW(Checkpoint(folder + "/other.h5", world), Error);
  const Hdf5File file = Hdf5File::open(folder + "/other.h5", world);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"nothing", "x"}));
  EXPECT_TRUE(at::equal(file.read_rows("x", 1, 3), at::arange(1, 3, at::kInt)));
  EXPECT_THROW(file.read_rows("x", 1, 5), Error);
  EXPECT_THROW(file.read("y"), Error);
}

}  // namespace
}  // namespace rluf
