#include "rluf/pipeline/signals/derived.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace rluf {
namespace {

constexpr std::int64_t kDay = 86400;

Interaction row(std::uint64_t user, std::int64_t time, std::uint64_t conversation, int num_messages, int opening = 0) {
  Interaction result{.user = user, .conversation = conversation, .timestamp = time, .line = time};
  result.num_messages = num_messages;
  result.opening = static_cast<std::int8_t>(opening);
  return result;
}

UserLog log_of(std::vector<Interaction> rows) {
  UserLog log;
  log.signals = {"love"};
  log.num_logged = 1;
  log.rows = std::move(rows);
  log.first_time = log.last_time = log.rows[0].timestamp;
  for (const Interaction& one : log.rows) {
    log.first_time = std::min(log.first_time, one.timestamp);
    log.last_time = std::max(log.last_time, one.timestamp);
  }
  return log;
}

std::size_t number(const UserLog& log, const std::string& name) {
  return static_cast<std::size_t>(std::find(log.signals.begin(), log.signals.end(), name) - log.signals.begin());
}

TEST(Days, AreOfUtcAlsoBefore1970) {
  EXPECT_EQ(day_of(0), 0);
  EXPECT_EQ(day_of(kDay - 1), 0);
  EXPECT_EQ(day_of(kDay), 1);
  EXPECT_EQ(day_of(-1), -1);
  EXPECT_EQ(day_of(-kDay), -1);
  EXPECT_EQ(day_of(-kDay - 1), -2);
}

TEST(Derived, ReturnNextDayIsKnownWhereThatDayIsInTheLog) {
  UserLog log = log_of({row(1, 10, 0, 1), row(1, kDay - 1, 0, 1), row(1, kDay, 0, 1), row(1, 3 * kDay, 0, 1),
                        row(1, 4 * kDay, 0, 1), row(2, 5 * kDay, 0, 1)});
  derive_signals(log);
  const std::size_t returns = number(log, "return_next_day");
  const int want[] = {1, 1, 0, 1, -1, -1};  // the day after day 4 is the last one, which may not be whole
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(log.rows[i].knows(returns), want[i] >= 0) << i;
    EXPECT_EQ(log.rows[i].has(returns), want[i] == 1) << i;
  }
}

TEST(Derived, FollowUpsAreOfTheSameConversationWithMoreMessages) {
  const std::vector<Interaction> user{row(1, 0, 7, 1), row(1, 1, 9, 1), row(1, 2, 7, 1), row(1, 3, 7, 3),
                                      row(1, 4, 0, 5)};
  EXPECT_EQ(follow_ups(user), (std::vector<std::int64_t>{3, -1, 3, -1, -1})) << "row 2 is row 0 answered again";
}

TEST(Derived, SentimentOfTheFollowUp) {
  UserLog log =
      log_of({row(1, 0, 7, 1, -1), row(1, 1, 7, 3, 1), row(1, 2, 7, 5, -1), row(1, 3, 0, 1, 1), row(2, 4, 7, 7, 1)});
  derive_signals(log);
  const std::size_t praise = number(log, "follow_up_praise"), complaint = number(log, "follow_up_complaint");
  EXPECT_TRUE(log.rows[0].has(praise) && !log.rows[0].has(complaint));
  EXPECT_TRUE(!log.rows[1].has(praise) && log.rows[1].has(complaint));
  EXPECT_TRUE(log.rows[2].knows(praise) && !log.rows[2].has(praise)) << "another user's message is no follow-up";
  EXPECT_FALSE(log.rows[3].knows(praise)) << "no conversation_id";
}

TEST(Derived, AFieldOfTheLogIsNotReplaced) {
  UserLog log = log_of({row(1, 0, 7, 1), row(1, 1, 7, 3, 1)});
  log.signals = {"follow_up_praise"};
  derive_signals(log);
  EXPECT_EQ(log.signals.size(), 3u);
  EXPECT_FALSE(log.rows[0].knows(0));
}

TEST(Cap, TheFirstEventsOfAUserCount) {
  UserLog log = log_of({row(1, 0, 0, 1), row(1, 1, 0, 1), row(1, 2, 0, 1), row(2, 3, 0, 1)});
  for (Interaction& one : log.rows) one.known = one.values = 1;
  log.rows[1].values = 0;
  EXPECT_EQ(cap_events(log, 1), std::vector<std::int64_t>{1});
  EXPECT_TRUE(log.rows[0].has(0) && log.rows[1].knows(0) && log.rows[3].has(0));
  EXPECT_FALSE(log.rows[2].knows(0));
}

}  // namespace
}  // namespace rluf
