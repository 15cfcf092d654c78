#include "rluf/pipeline/signals/derived.hpp"

#include <algorithm>
#include <map>

namespace rluf {
namespace {

constexpr std::int64_t kDaySeconds = 86400;

/// The number of a new signal, or -1 where the log has a field of that name.
int add_name(UserLog& log, const std::string& name) {
  if (std::find(log.signals.begin(), log.signals.end(), name) != log.signals.end()) return -1;
  log.signals.push_back(name);
  return static_cast<int>(log.signals.size()) - 1;
}

void set(Interaction& row, int signal, bool value) {
  if (signal < 0) return;
  row.known |= std::uint64_t{1} << signal;
  row.values |= static_cast<std::uint64_t>(value) << signal;
}

}  // namespace

std::int64_t day_of(std::int64_t timestamp) {
  return timestamp >= 0 ? timestamp / kDaySeconds : -((-timestamp + kDaySeconds - 1) / kDaySeconds);
}

std::vector<std::int64_t> follow_ups(std::span<const Interaction> user) {
  std::vector<std::int64_t> next(user.size(), -1);
  std::map<std::uint64_t, std::int64_t> later;  // conversation -> its earliest row among those behind this one
  for (std::int64_t i = std::ssize(user) - 1; i >= 0; --i) {
    const Interaction& row = user[static_cast<std::size_t>(i)];
    if (row.conversation == 0) continue;
    const auto [found, is_new] = later.emplace(row.conversation, i);
    if (is_new) continue;
    // An answer that was made again stands after the same messages and is no follow-up.
    if (user[static_cast<std::size_t>(found->second)].num_messages > row.num_messages)
      next[static_cast<std::size_t>(i)] = found->second;
    else
      next[static_cast<std::size_t>(i)] = next[static_cast<std::size_t>(found->second)];
    found->second = i;
  }
  return next;
}

void derive_signals(UserLog& log) {
  const int returns = add_name(log, "return_next_day"), praise = add_name(log, "follow_up_praise"),
            complaint = add_name(log, "follow_up_complaint");
  const std::int64_t last_day = day_of(log.last_time);
  for_each_user(std::span<Interaction>(log.rows), [&](std::span<Interaction> user) {
    const std::vector<std::int64_t> next = follow_ups(user);
    std::size_t later = 0;  // the first row of a later day than that of row i
    for (std::size_t i = 0; i < user.size(); ++i) {
      const std::int64_t day = day_of(user[i].timestamp);
      while (later < user.size() && day_of(user[later].timestamp) <= day) ++later;
      if (day + 1 < last_day) set(user[i], returns, later < user.size() && day_of(user[later].timestamp) == day + 1);
      if (user[i].conversation == 0) continue;
      const int tone = next[i] < 0 ? 0 : user[static_cast<std::size_t>(next[i])].opening;
      set(user[i], praise, tone > 0);
      set(user[i], complaint, tone < 0);
    }
  });
}

std::vector<std::int64_t> cap_events(UserLog& log, std::int64_t cap) {
  std::vector<std::int64_t> capped(log.signals.size(), 0);
  for_each_user(std::span<Interaction>(log.rows), [&](std::span<Interaction> user) {
    std::vector<std::int64_t> events(log.signals.size(), 0);
    for (Interaction& row : user)
      for (std::size_t s = 0; s < log.signals.size(); ++s) {
        if (!row.has(s) || ++events[s] <= cap) continue;
        row.known &= ~(std::uint64_t{1} << s);
        row.values &= ~(std::uint64_t{1} << s);
        ++capped[s];
      }
  });
  return capped;
}

}  // namespace rluf
