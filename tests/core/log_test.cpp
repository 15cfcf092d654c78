#include "rluf/core/log.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

std::string content_of(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Log, LinesGoToTheFileWithTheTime) {
  const std::string path = testing::TempDir() + "rluf_log.txt";
  std::filesystem::remove(path);
  set_log_file(path);
  log_info("first");
  log_warning("second");
  set_progress_mark("love", 7);
  log_error("third");
  set_log_file("");
  log_info("elsewhere");
  const std::string text = content_of(path);
  EXPECT_NE(text.find(" first\n"), std::string::npos);
  EXPECT_NE(text.find(" warning: second\n"), std::string::npos);
  EXPECT_NE(text.find(" error: stage love step 7: third\n"), std::string::npos);
  EXPECT_EQ(text.find("elsewhere"), std::string::npos);
  EXPECT_THROW(set_log_file("/nowhere/log.txt"), Error);
}

TEST(Log, ProgressMarksTheStepAndKeepsShortLoopsQuiet) {
  const std::string path = testing::TempDir() + "rluf_progress.txt";
  std::filesystem::remove(path);
  set_log_file(path);
  {
    Progress progress("sft", "steps", 10);
    for (long step = 1; step <= 10; ++step) progress.update(step, "loss 0.5");
  }
  set_log_file("");
  EXPECT_EQ(content_of(path), "");
  EXPECT_EQ(progress_mark().stage, "sft");
  EXPECT_EQ(progress_mark().step, 10);
  EXPECT_LT(progress_mark().age_seconds, 60);
}

TEST(Memory, ThePeakFollowsAndCanBeReset) {
  constexpr long kBytes = 64L << 20;
  {
    std::vector<char> block(kBytes, 1);
    EXPECT_GE(resident_memory_bytes(), kBytes);
    EXPECT_GE(peak_memory_bytes(), kBytes);
    EXPECT_EQ(block[kBytes / 2], 1);
  }
  const long before = peak_memory_bytes();
  reset_peak_memory();  // may be forbidden, then the peak stays
  EXPECT_LE(peak_memory_bytes(), before + (1L << 20)) << "but for what this call itself takes";
  EXPECT_GE(peak_memory_bytes(), resident_memory_bytes() / 2);
}

}  // namespace
}  // namespace rluf
