#include "rluf/io/jsonl.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

const std::string kFile = testing::TempDir() + "rluf_rows.jsonl";

std::string message_of(const std::function<void()>& action, ExitCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "no error";
}

std::vector<std::int64_t> lines_of(const std::string& path, int rank, int size) {
  std::vector<std::int64_t> lines;
  for_each_row(path, rank, size, [&](std::int64_t line, const Json&) { lines.push_back(line); });
  return lines;
}

TEST(Rows, AreDealtToRanksAndBlankLinesSkipped) {
  std::ofstream(kFile) << "{\"a\":1}\n\n{\"a\":2}\r\n  \n{\"a\":3}";
  EXPECT_EQ(lines_of(kFile, 0, 1), (std::vector<std::int64_t>{1, 3, 5}));
  EXPECT_EQ(lines_of(kFile, 0, 2), (std::vector<std::int64_t>{1, 3, 5}));
  EXPECT_EQ(lines_of(kFile, 1, 2), (std::vector<std::int64_t>{}));
  EXPECT_EQ(lines_of(kFile, 2, 3), (std::vector<std::int64_t>{3}));
}

TEST(Rows, GzipRoundTripIsAtomic) {
  const std::string path = kFile + ".gz";
  std::filesystem::remove(path);
  {
    JsonlWriter writer(path);
    for (int i = 0; i < 1000; ++i) writer.write({{"i", i}});
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.close();
  }
  EXPECT_EQ(lines_of(path, 0, 1).size(), 1000u);
  { JsonlWriter abandoned(path + "2"); }
  EXPECT_FALSE(std::filesystem::exists(path + "2"));
  EXPECT_FALSE(std::filesystem::exists(path + "2.part"));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_NE(message_of([&] { lines_of(path, 0, 1); }, ExitCode::kBadData).find("gzip stream is broken after line"),
            std::string::npos);
}

TEST(Rows, ErrorsNameFileLineAndField) {
  std::ofstream(kFile) << "{\"a\":1}\n{\"a\":\n";
  EXPECT_NE(message_of([] { lines_of(kFile, 0, 1); }, ExitCode::kBadData).find(kFile + ":2: broken JSON"),
            std::string::npos);
  std::ofstream(kFile) << "{\"user\":\"jane\" \"b\":1}\n";
  const std::string private_row = message_of([] { lines_of(kFile, 0, 1); }, ExitCode::kBadData);
  EXPECT_NE(private_row.find(kFile + ":1: broken JSON at column"), std::string::npos) << private_row;
  EXPECT_EQ(private_row.find("jane"), std::string::npos) << "a message quotes no row";
  std::ofstream(kFile) << "{\"a\":\"\xff\xfe\"}\n";
  EXPECT_NE(message_of([] { lines_of(kFile, 0, 1); }, ExitCode::kBadData).find(":1: the text is not UTF-8"),
            std::string::npos);
  std::ofstream(kFile) << "[1]\n";
  EXPECT_NE(message_of([] { lines_of(kFile, 0, 1); }, ExitCode::kBadData).find("not a JSON object"), std::string::npos);
  EXPECT_NE(message_of([] { LineReader("/nowhere/x.jsonl"); }, ExitCode::kBadInput).find("no such file"),
            std::string::npos);
  EXPECT_NE(message_of([] { LineReader("/tmp"); }, ExitCode::kBadInput).find("directory"), std::string::npos);
  const Json row{{"text", "t"}, {"count", 3}, {"flag", true}, {"share", 0.5}};
  EXPECT_EQ(field<std::string>(row, "text", "f", 1), "t");
  EXPECT_EQ(field<std::int64_t>(row, "flag", "f", 1), 1);
  EXPECT_EQ(field<double>(row, "count", "f", 1), 3.0);
  EXPECT_NE(message_of([&] { field<std::string>(row, "none", "f", 9); }, ExitCode::kBadData)
                .find("f:9: the field \"none\" is missing"),
            std::string::npos);
  EXPECT_NE(message_of([&] { field<std::int64_t>(row, "share", "f", 9); }, ExitCode::kBadData).find("wrong type"),
            std::string::npos);
}

}  // namespace
}  // namespace rluf
