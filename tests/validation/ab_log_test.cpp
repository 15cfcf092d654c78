#include "rluf/pipeline/validation/ab_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;

/// What the arms of a made-up product do.
struct Truth {
  double love = 0.1, love_new = 0.1, thumbs_down = 0.05, thumbs_down_new = 0.05, share_new = 0.5;
};

class AbLogTest : public testing::Test {
 protected:
  AbLogTest() : path_(testing::TempDir() + "/rluf_ab_log.jsonl") {
    options_.control = "old";
    options_.guardrails = {"thumbs_down"};
    options_.guardrail_margin = 0.5;
    options_.start = 1000;
  }
  void write(const Truth& truth, int users = 1500) {
    std::ofstream file(path_);
    for (int u = 0; u < users; ++u) {
      RandomStream random(8, Purpose::kSimulation, 0, static_cast<std::uint64_t>(u));
      const bool is_new = random.uniform() < truth.share_new;
      const double taste = 2 * random.uniform();
      for (int row = 0; row < 8; ++row) {
        const bool before = row < 4;
        const double love = taste * (is_new && !before ? truth.love_new : truth.love);
        nlohmann::json json{
            {"user_id", "u" + std::to_string(u)},
            {"timestamp", before ? 900 + row : 1000 + 86400 * row},
            {"use_case", row % 2 == 0 ? "chat" : "code"},
            {"signals",
             {{"love", random.uniform() < love ? 1 : 0},
              {"thumbs_down", random.uniform() < (is_new ? truth.thumbs_down_new : truth.thumbs_down)}}}};
        if (!before) json["arm"] = is_new ? "new" : "old";
        file << json.dump() << '\n';
      }
    }
  }
  nlohmann::json table() { return ab_log_table(read_ab_log(path_, options_), options_); }
  nlohmann::json decision() { return table()["comparisons"][0]["decision"]; }
  std::string error() {
    try {
      table();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  std::string path_;
  AbLogOptions options_;
};

TEST_F(AbLogTest, CountsRowsUsersAndDays) {
  write({});
  const auto found = table();
  EXPECT_EQ(found["rows"], 12000);
  EXPECT_EQ(found["rows_before"], 6000);
  EXPECT_DOUBLE_EQ(found["days"].get<double>(), 3.0);
  ASSERT_EQ(found["arms"].size(), 2u);
  EXPECT_EQ(found["arms"][0]["users"].get<int>() + found["arms"][1]["users"].get<int>(), 1500);
  EXPECT_EQ(found["arms"][0]["responses"].get<double>(), 4 * found["arms"][0]["users"].get<double>());
  EXPECT_LT(found["comparisons"][0]["cuped"]["variance_ratio"].get<double>(), 1.0);
  EXPECT_EQ(found["comparisons"][0]["segments"].size(), 2u);
  EXPECT_GT(found["users_needed_per_arm"].get<double>(), 1000);
}

TEST_F(AbLogTest, DecidesByLoveAndGuardrails) {
  write({.love_new = 0.16});
  EXPECT_EQ(decision()["verdict"], "ship") << decision().dump();
  write({.love_new = 0.05});
  EXPECT_EQ(decision()["verdict"], "do not ship");
  EXPECT_THAT(decision()["reason"], HasSubstr("love fell"));
  write({});
  EXPECT_EQ(decision()["verdict"], "go on");
  write({.love_new = 0.16, .thumbs_down_new = 0.1});
  EXPECT_EQ(decision()["verdict"], "do not ship") << "love alone is no reason";
  EXPECT_THAT(decision()["reason"], HasSubstr("thumbs_down rose"));
  options_.guardrail_margin = 0.01;
  write({.love_new = 0.16});
  EXPECT_THAT(decision()["reason"], HasSubstr("is not shown yet"));
}

TEST_F(AbLogTest, DoesNotTrustAWrongSampleRatio) {
  write({.love_new = 0.16, .share_new = 0.4});
  EXPECT_EQ(decision()["verdict"], "do not ship");
  EXPECT_THAT(decision()["reason"], HasSubstr("not dealt as planned"));
  options_.shares = {0.4, 0.6};  // new, old
  EXPECT_EQ(decision()["verdict"], "ship");
  options_.shares = {1};
  EXPECT_THAT(error(), HasSubstr("1 numbers for 2 arms: new, old"));
}

TEST_F(AbLogTest, LeavesOutUsersOfSeveralArms) {
  write({}, 100);
  std::ofstream(path_, std::ios::app)
      << R"({"user_id": "v", "timestamp": 2000, "arm": "tiny", "signals": {"love": 0, "thumbs_down": 0}})" << '\n'
      << R"({"user_id": "u3", "timestamp": 2000, "arm": "new", "signals": {"love": 0, "thumbs_down": 0}})" << '\n'
      << R"({"user_id": "u3", "timestamp": 2001, "arm": "old", "signals": {"love": 0, "thumbs_down": 0}})" << '\n';
  const auto found = table();
  EXPECT_EQ(found["small_arms"], nlohmann::json({"tiny"}));
  EXPECT_EQ(found["users_of_several_arms"], 1);
  EXPECT_EQ(found["rows_of_several_arms"], 6);
  EXPECT_EQ(found["arms"][0]["users"].get<int>() + found["arms"][1]["users"].get<int>(), 99);
}

TEST_F(AbLogTest, NamesWhatIsWrong) {
  write({}, 50);
  options_.control = "other";
  EXPECT_THAT(error(), HasSubstr("abtest.control = \"other\" served nobody alone"));
  EXPECT_THAT(error(), HasSubstr("choose one of new, old"));
  options_.control = "old";
  options_.start = 1e9;
  EXPECT_THAT(error(), HasSubstr("lower abtest.start"));
  options_.start = 1000;
  std::ofstream(path_, std::ios::app)
      << R"({"user_id": "x", "timestamp": 2000, "arm": "new", "signals": {"love": 0.5}})" << '\n';
  EXPECT_THAT(error(), HasSubstr(":401: signals.love is 0.5"));
  write({}, 50);
  std::ofstream(path_, std::ios::app)
      << R"({"user_id": "x", "timestamp": 2000, "signals": {"love": 0, "thumbs_down": 0}})" << '\n';
  EXPECT_THAT(error(), HasSubstr(":401:"));
  EXPECT_THAT(error(), HasSubstr("arm"));
}

}  // namespace
}  // namespace rluf
