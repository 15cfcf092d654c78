// The stage on all ranks: files equal to those of one rank, totals, what is missing, and what is refused.
#include "rluf/pipeline/signals/compare_signals.hpp"

#include <fstream>
#include <sstream>

#include "rluf/core/random.hpp"
#include "rluf/pipeline/signals/signal_choice.hpp"
#include "rluf/statistics/logistic.hpp"
#include "stage_test.hpp"

namespace rluf {
namespace {

using Change = std::function<void(Json&)>;

class SignalsTest : public StageTest {
 protected:
  SignalsTest() { options_.effect = 0.2; }  // the log is small
  /// 400 users, 6 responses each; `heart` goes with retention, `noise` with nothing, `down` is rarer with a heart.
  std::string write_log(const Change& change = {}, int users = 400) const {
    const std::string path = folder_ + "/log.jsonl";
    if (world_.rank() == 0) {
      std::filesystem::create_directories(folder_);
      std::ofstream file(path);
      for (int user = 0; user < users; ++user) {
        RandomStream random(1, Purpose::kSimulation, static_cast<std::uint64_t>(user));
        const double taste = random.normal();
        for (int turn = 0; turn < 6; ++turn) {
          const bool heart = random.uniform() < logistic(-1.5 + taste);
          Json row{{"user_id", user},
                   {"conversation_id", user},
                   {"timestamp", 1700000000 + 90000 * turn + user},
                   {"use_case", turn % 2 ? "chat" : "code"},
                   {"messages", "question " + std::to_string(turn)},
                   {"response", "answer"},
                   {"signals",
                    {{"heart", heart},
                     {"noise", random.uniform() < 0.3},
                     {"thumbs_down", random.uniform() < (heart ? 0.02 : 0.2)}}},
                   {"retained_14d", random.uniform() < logistic(taste)}};
          if (change) change(row);
          file << row.dump() << "\n";
          if (user % 50 == 0 && turn == 0) file << row.dump() << "\n\n";
        }
      }
    }
    world_.barrier();
    return path;
  }
  void run(const std::string& path, const std::string& folder, const Communicator& comm) const {
    with_context(folder, comm, [&](const StageContext& context) { run_signals(options_, {path, key_, 0}, context); });
  }
  Json compare(const Change& change = {}) {
    run(write_log(change), folder_, world_);
    return table("signals");
  }
  static Json signal(const Json& table, const std::string& name) {
    for (const Json& one : table.at("signals"))
      if (one.at("name") == name) return one;
    ADD_FAILURE() << name << " is not in the table";
    return {};
  }
  static std::string content(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string error_of(const Change& change, int users = 400) {
    try {
      run(write_log(change, users), folder_, world_);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  SignalOptions options_;
  std::string key_ = "key";
};

TEST_F(SignalsTest, FilesAreThoseOfOneRank) {
  const std::string path = write_log();
  run(path, folder_, world_);
  if (world_.rank() == 0) run(path, folder_ + "/alone", Communicator::self());
  world_.barrier();
  for (const char* file : {"/tables/signals.json", "/data/signals.json"}) {
    EXPECT_EQ(content(folder_ + file), content(folder_ + "/alone" + file)) << file;
    EXPECT_GT(content(folder_ + file).size(), 50u);
  }
}

TEST_F(SignalsTest, TheTiedSignalIsRecommendedAndTotalsAddUp) {
  const Json result = compare();
  EXPECT_EQ(result.at("recommended"), "heart") << result.at("reason");
  EXPECT_EQ(result.at("read"), 2408);
  EXPECT_EQ(result.at("duplicates"), 8);
  EXPECT_EQ(result.at("used"), 2400);
  const Json heart = signal(result, "heart");
  EXPECT_EQ(heart.at("availability").at("responses"), 2400);
  EXPECT_GT(heart.at("tie").at("odds_ratio").at("low"), 1);
  EXPECT_TRUE(heart.at("tie").at("users").at("adjusted_for").empty())
      << "all users are equally active and use it alike";
  std::int64_t of_cases = 0;
  for (const Json& part : heart.at("availability").at("use_cases")) of_cases += part.at("events").get<std::int64_t>();
  EXPECT_EQ(of_cases, heart.at("availability").at("events"));
  const SignalChoice choice = read_signal_choice(folder_ + "/data/signals.json");
  EXPECT_EQ(choice.recommended, "heart");
  EXPECT_EQ(choice.reactors.size(), 3u) << "one list a logged signal";
}

TEST_F(SignalsTest, WhatTheLogLacksIsSaid) {
  const Json result = compare([](Json& row) {
    for (const char* name : {"use_case", "retained_14d", "conversation_id"}) row.erase(name);
  });
  const Json heart = signal(result, "heart");
  EXPECT_NE(result.at("use_cases").get<std::string>().find("missing"), std::string::npos);
  EXPECT_EQ(heart.at("tied").at("passed"), "cannot be judged");
  EXPECT_TRUE(heart.at("tie").at("odds_ratio").at("value").is_null());
  EXPECT_EQ(signal(result, "follow_up_praise").at("availability").at("responses"), 0);
  EXPECT_EQ(result.at("recommended"), "heart");
}

TEST_F(SignalsTest, FieldsThatAreNoSignalsAreLeftOut) {
  const Json result = compare([](Json& row) {
    if (row.at("user_id") == 7) row["signals"]["stars"] = 4;
    if (row.at("user_id") != 7) row["signals"]["stars"] = 1;
    if (row.at("user_id") == 9) row["signals"].erase("noise");
  });
  EXPECT_EQ(result.at("left_out").size(), 1u);
  EXPECT_EQ(result.at("left_out")[0].at("name"), "stars");
  EXPECT_EQ(signal(result, "noise").at("availability").at("responses"), 2394);
  EXPECT_FALSE(signal(result, "noise").at("in_every_row"));
}

TEST_F(SignalsTest, AUserBeyondChanceIsListedAndCapped) {
  const Change planted = [](Json& row) {
    row["signals"]["heart"] = row.at("user_id").get<int>() == 5 || row.at("user_id").get<int>() % 40 == 0;
  };
  const Json result = compare([&](Json& row) {
    planted(row);
    if (row.at("user_id").get<int>() % 40 == 0) row["signals"]["heart"] = row.at("messages") == "question 1";
  });
  const Json heart = signal(result, "heart").at("unambiguity");
  ASSERT_EQ(heart.at("reactors"), 1);
  EXPECT_EQ(heart.at("reactor_list")[0].at("events"), 6);
  const ReactorLimits limits = read_signal_choice(folder_ + "/data/signals.json").reactors.at("heart");
  ASSERT_EQ(limits.size(), 1u);
  const std::uint64_t user = limits.begin()->first;
  EXPECT_EQ(user, user_hash(user_hash_key(key_), "5"));
  EXPECT_FALSE(leaves_out(limits, "keep", user, 1800000000, 1));
  EXPECT_FALSE(leaves_out(limits, "cap", user, 1700000005, 31)) << "the first one stays";
  EXPECT_TRUE(leaves_out(limits, "cap", user, 1800000000, 1));
  EXPECT_TRUE(leaves_out(limits, "drop", user, 0, 1));
  EXPECT_FALSE(leaves_out(limits, "drop", user + 1, 0, 1));
  options_.user_cap = 2;
  const Json capped = signal(compare(planted), "heart").at("availability");
  EXPECT_EQ(capped.at("events"), 22);
  EXPECT_EQ(capped.at("capped"), 44);
}

TEST_F(SignalsTest, RefusesWhatCannotBeCompared) {
  EXPECT_NE(error_of([](Json& row) { row["user_id"] = "me"; }).find("one user"), std::string::npos);
  EXPECT_NE(error_of([](Json& row) { row["signals"] = Json::object(); }).find("no field of signals{}"),
            std::string::npos);
  EXPECT_NE(error_of([](Json& row) {
              for (auto& value : row["signals"]) value = 0;
            }).find("every signal is 0"),
            std::string::npos);
  EXPECT_NE(error_of([](Json& row) {
              if (row.at("user_id") == 3) row.erase("response");
            }).find("response"),
            std::string::npos);
  EXPECT_NE(error_of([](Json& row) {
              if (row.at("user_id") == 3) row["retained_14d"] = "yes";
            }).find("retained_14d"),
            std::string::npos);
  EXPECT_NE(error_of([](Json& row) {
              for (int i = 0; i < 60; ++i) row["signals"]["s" + std::to_string(i)] = 0;
            }).find("more than 48"),
            std::string::npos);
}

}  // namespace
}  // namespace rluf
