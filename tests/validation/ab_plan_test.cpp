#include "rluf/pipeline/validation/ab_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;

class AbPlan : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  void write(int user, int day, const std::string& love) {
    rows_ +=
        concat("{\"user_id\": ", user, ", \"timestamp\": ", day * 86400, ", \"signals\": {\"love\": ", love, "}}\n");
  }
  LogTraffic traffic() {
    write_text(path_, rows_);
    return traffic_of_log(path_, "love", 0);
  }
  std::string rows_;
  std::string path_ =
      (std::filesystem::temp_directory_path() / ("rluf_traffic_" + std::to_string(getpid()) + ".jsonl")).string();
};

TEST_F(AbPlan, ReadsTheTrafficOfALog) {
  for (int user = 0; user < 20; ++user)
    for (int day = 0; day <= 10; day += 5) write(user, day, user < 5 ? "true" : "0");
  write(0, 3, "null");
  const LogTraffic log = traffic();
  EXPECT_EQ(log.num_rows, 61);
  EXPECT_EQ(log.num_without_signal, 1);
  EXPECT_EQ(log.num_users, 20);
  EXPECT_EQ(log.num_events, 15);
  EXPECT_DOUBLE_EQ(log.rate.value, 0.25);
  EXPECT_DOUBLE_EQ(log.responses_per_user, 3);
  EXPECT_DOUBLE_EQ(log.users_per_day, 2);
  EXPECT_NEAR(log.design_effect, 3 * 20.0 / 19, 1e-12) << "users who repeat themselves count once";
  EXPECT_NEAR(log.half_correlation, 1, 1e-12) << "and stay as they are";
  EXPECT_LT(log.rate.low, 0.25);
}

TEST_F(AbPlan, LogsWithoutARateAreRefused) {
  for (int user = 0; user < 3; ++user) write(user, user, "0");
  try {
    traffic();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadData);
    EXPECT_THAT(error.what(), HasSubstr("0 of 3 responses of 3 users"));
  }
}

TEST_F(AbPlan, OptionsGoBeforeTheLog) {
  LogTraffic log;
  log.rate = {0.01, 0.009, 0.011};
  log.responses_per_user = 4;
  log.design_effect = 1.5;
  log.users_per_day = 100;
  log.half_correlation = std::nan("");
  AbPlanOptions options;
  const Json from_log = ab_plan_table(options, log);
  EXPECT_EQ(from_log["rate"], 0.01);
  EXPECT_EQ(from_log["design_effect"], 1.5);
  EXPECT_EQ(from_log["effect"]["days"], std::ceil(from_log["effect"]["total"].get<double>() / 100));
  options.rate = 0.02;
  options.traffic_share = 0.5;
  const Json mixed = ab_plan_table(options, log);
  EXPECT_EQ(mixed["rate"], 0.02);
  EXPECT_EQ(mixed["responses_per_user"], 4);
  EXPECT_EQ(mixed["users_per_day"], 50);
  EXPECT_THAT(ab_plan_text(mixed), HasSubstr("design effect 1.5"));
  EXPECT_THROW(ab_plan_table({}, std::nullopt), Error);
}

}  // namespace
}  // namespace rluf
