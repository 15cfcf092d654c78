#pragma once
/// Signals that no field of the log holds, and what happened after a response. Pure functions.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rluf/pipeline/signals/user_log.hpp"

namespace rluf {

/// Adds to `log` (names behind the logged ones, values and known bits in the rows), unless a field has the name
/// already:
/// - return_next_day: the user has a row on the next calendar day (UTC). Not known where that day is not wholly inside
///   the log (the last two days).
/// - follow_up_praise, follow_up_complaint: the sentiment (English, sentiment.hpp) of the user's next message in the
///   same conversation; 0 where none follows, as a reaction that was not given; not known without a conversation_id.
void derive_signals(UserLog& log);

/// Where the next row of the same user and conversation with more messages stands; -1: there is none.
/// @shape user [n] in order of time -> [n]
std::vector<std::int64_t> follow_ups(std::span<const Interaction> user);

/// Events of each signal beyond the first `cap` of a user become unknown. @return how many, by signal
std::vector<std::int64_t> cap_events(UserLog& log, std::int64_t cap);

/// Days since 1970-01-01 (UTC).
std::int64_t day_of(std::int64_t timestamp);

}  // namespace rluf
