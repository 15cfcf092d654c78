#include "rluf/pipeline/evaluation/served_log.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "rluf/core/error.hpp"
#include "stage_test.hpp"

namespace rluf {
namespace {

class ServedLogTest : public StageTest {
 protected:
  ServedLogTest() { options_.arm_field = "model"; }
  Json row(const std::string& user, int time, const Json& arm, const Json& love) const {
    return {{"user_id", user},     {"timestamp", time},
            {"model", arm},        {"messages", {{{"role", "user"}, {"content", user}}}},
            {"response", "hello"}, {"signals", {{"love", love}}}};
  }
  ServedLog read(const std::vector<Json>& rows) {
    data_.interactions = folder_ + "/log.jsonl";
    std::string text;
    for (const Json& one : rows) text += one.dump() + "\n";
    ServedLog log;
    with_context([&](const StageContext& context) {
      if (world_.rank() == 0) write_text(data_.interactions, text);
      world_.barrier();
      log = read_served_log(options_, data_, "love", nullptr, 1024, context);
    });
    return log;
  }
  LogOptions options_;
  DataOptions data_;
};

TEST_F(ServedLogTest, AccountsForEveryRow) {
  options_.start = 10;
  Json other = row("c", 40, "b", 1);
  other["use_case"] = "code";
  other["propensity"] = 0.25;
  const ServedLog log = read({row("a", 30, "a", 1), row("b", 20, "b", nullptr), row("a", 12, "b", true),
                              row("z", 5, "a", 1), row("y", 50, nullptr, 1), other, row("b", 60, "a", 0)});
  EXPECT_EQ(log.read, 7);
  EXPECT_EQ(log.before_start, 1);
  EXPECT_EQ(log.without_arm, 1);
  EXPECT_EQ(log.duplicates, 2);
  ASSERT_EQ(log.rows.size(), 3u);
  EXPECT_EQ(log.num_users, 3);
  EXPECT_EQ(log.arms, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(log.use_cases, (std::vector<std::string>{"(none)", "code"}));
  EXPECT_EQ(log.rows[0].timestamp, 12) << "of duplicates the first in time stays";
  EXPECT_EQ(log.rows[0].arm, 1);
  EXPECT_FALSE(log.rows[1].observed);
  EXPECT_EQ(log.rows[1].timestamp, 20);
  EXPECT_EQ(log.rows[2].propensity, 0.25);
  EXPECT_EQ(log.rows[2].reward, 1);
  EXPECT_TRUE(std::isnan(log.rows[2].score)) << "no love model";
}

TEST_F(ServedLogTest, WindowsAreEqualPartsOfTheTime) {
  options_.windows = 2;
  const ServedLog log = read({row("a", 0, "a", 1), row("b", 49, "a", 1), row("c", 50, "a", 1), row("d", 99, "a", 0)});
  std::vector<int> windows;
  for (const ServedResponse& one : log.rows) windows.push_back(one.window);
  EXPECT_EQ(windows, (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(log.num_windows, 2);
}

TEST_F(ServedLogTest, RowsThatCannotBeUsedAreNamed) {
  const auto error = [&](const std::vector<Json>& rows) -> std::string {
    try {
      read(rows);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      return error.what();
    }
    return "no error";
  };
  Json odd = row("a", 1, "a", 1);
  odd["propensity"] = 1.5;
  EXPECT_THAT(error({row("b", 1, "a", 0), odd}), testing::HasSubstr("log.jsonl:2: the field \"propensity\" is 1.5"));
  EXPECT_THAT(error({row("a", 1, "a", 2)}), testing::HasSubstr("log.jsonl:1: signals.love is neither 0 nor 1"));
  EXPECT_THAT(error({row("a", 1, 7, 1)}), testing::HasSubstr("log.jsonl:1"));
  EXPECT_THAT(error({row("a", 1, "a", nullptr)}), testing::HasSubstr("no row shows signals.love"));
}

}  // namespace
}  // namespace rluf
