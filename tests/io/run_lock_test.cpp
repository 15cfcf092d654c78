#include "rluf/io/run_lock.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

class RunLockTest : public testing::Test {
 protected:
  std::string path = testing::TempDir() + "rluf_run_lock";
  void SetUp() override { fs::remove(path); }
  void write(const Json& changes) const {
    Json holder = lock_holder();
    holder.update(changes);
    std::ofstream(path) << holder.dump();
  }
};

TEST_F(RunLockTest, OneHolderAtATime) {
  {
    const RunLock lock(path);
    EXPECT_TRUE(lock.beat());
    EXPECT_EQ(RunLock::holder_of(path)->at("pid"), getpid());
    EXPECT_LT(RunLock::heartbeat_age_seconds(path), 5);
    try {
      const RunLock second(path);
      ADD_FAILURE() << "two holders";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      EXPECT_NE(std::string(error.what()).find(concat("process ", getpid(), " on ")), std::string::npos)
          << error.what();
    }
    EXPECT_TRUE(lock.beat()) << "the first still has it";
  }
  EXPECT_FALSE(RunLock::holder_of(path)) << "given back";
}

TEST_F(RunLockTest, AProcessOfThisMachineThatIsGoneHoldsNothing) {
  write({{"pid", 1 << 30}});
  const RunLock lock(path);
  EXPECT_TRUE(lock.beat());
}

TEST_F(RunLockTest, APidThatWasGivenAwayAgainIsNotTheHolder) {
  write({{"process_start", "17"}});
  EXPECT_TRUE(RunLock(path).beat());
}

TEST_F(RunLockTest, AnotherMachinesHolderIsJudgedByItsHeartbeat) {
  write({{"machine", "elsewhere"}, {"host", "node7"}, {"job", "12.server"}});
  std::jthread other([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      fs::last_write_time(path, fs::file_time_type::clock::now());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  try {
    const RunLock lock(path, 2);
    ADD_FAILURE() << "taken from one that lives";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("job 12.server, process "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(" on node7"), std::string::npos) << error.what();
  }
  other.request_stop();
  other.join();
  EXPECT_TRUE(RunLock(path, 0.5).beat()) << "silent for the patience";
}

TEST_F(RunLockTest, AHolderNoticesThatItsLockWasTaken) {
  const RunLock lock(path);
  write({{"pid", 1 << 30}});
  EXPECT_FALSE(lock.beat());
}

}  // namespace
}  // namespace rluf
