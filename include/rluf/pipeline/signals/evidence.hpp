#pragma once
/// What the log says of a signal, criterion by criterion.
#include <cstdint>
#include <string>
#include <vector>

#include "rluf/pipeline/signals/signal_options.hpp"
#include "rluf/pipeline/signals/user_log.hpp"
#include "rluf/statistics/concentration.hpp"
#include "rluf/statistics/count_moments.hpp"

namespace rluf {

/// A rate of the signal in a part of the log.
struct PartRate {
  std::string name;
  std::int64_t events = 0, responses = 0;
  Interval rate{};  ///< clustered by user
};

struct Availability {
  std::int64_t events = 0, responses = 0;  ///< responses of which the signal is known
  std::int64_t capped = 0;                 ///< events beyond signals.user_cap, left out
  std::int64_t users_with = 0, users = 0;
  Interval rate{}, user_share{};
  double design_effect = 0;
  /// To see a difference of signals.effect in retention (tie) at signals.alpha and signals.power, in a log like this
  /// one; responses and users that have so many.
  double needed_events = 0, needed_responses = 0, needed_users = 0;
  std::vector<PartRate> use_cases;
};

/// A logistic regression of retention on the signal.
struct RetentionModel {
  std::string missing;                    ///< why there is none; empty: there is one
  std::vector<std::string> adjusted_for;  ///< what tells something beside the signal
  Interval odds_ratio{};                  ///< of retention with the signal, adjusted, clustered by user
  double p = 1;                           ///< two-sided, of odds_ratio = 1
  Interval difference{};                  ///< of retention: everybody with the signal - everybody without it
};

/// Long-term satisfaction with the signal and without it.
struct Tie {
  std::string missing;       ///< why it cannot be judged; empty: it can
  RetentionModel users;      ///< users who ever gave it against those who never did
  RetentionModel responses;  ///< after a response with it against after one without it
  /// The one whose difference is known more exactly, whatever it is: users for rare signals, since satisfaction is
  /// theirs; responses for those that nearly all users ever gave.
  const RetentionModel& judged() const;
  Interval user_difference{};     ///< unadjusted: mean retention of users who ever gave it - of those who never did
  Contrast after;                 ///< retention after a response with it and without it, unadjusted
  Interval within_user{};         ///< retention after it - after other responses of the same user
  std::int64_t within_users = 0;  ///< users with both
  Interval within_return{};       ///< the same of coming back on the next day
  std::int64_t within_return_users = 0;
};

/// A user who gives the signal more often than chance explains.
struct Reactor {
  std::uint64_t user = 0;
  std::int64_t responses = 0, events = 0;
  std::int64_t keeps = 0;                               ///< positives that data.reactors = cap leaves, the first ones
  std::int64_t last_kept_time = 0, last_kept_line = 0;  ///< of the newest of these
  double expected = 0;  ///< events at the rates of the use cases of the user's responses
  double p = 1;         ///< exact binomial tail
};

struct Companion {
  std::string name;
  Contrast contrast;  ///< the other one's rate with the signal and without
};

struct Unambiguity {
  std::string missing;                ///< why contradictions cannot be told; empty: they can
  Contrast opposite;                  ///< any signal of the other kind on the same response
  Contrast next_negative;             ///< a negative signal on the user's next response
  std::vector<Companion> companions;  ///< every other signal
  std::vector<PartRate> slices;       ///< of time
  Drift drift;
  Interval half_ratio{};           ///< rate in one random half of the users / in the other
  double gini = 0, top_share = 0;  ///< over users; share of the events from the 1 % who give most
  double icc = 0;                  ///< how alike the responses of a user are, 0..1
  std::int64_t reactor_events = 0;
  std::vector<Reactor> reactors;  ///< by p
};

struct SignalEvidence {
  std::string name;
  bool is_logged = true, is_negative = false;
  bool is_everywhere = true;  ///< every used row holds it
  Availability available;
  Tie tie;
  Unambiguity unambiguous;
};

/// Of every signal of the log, in the order of their names. The same on all ranks, to the last bit on any number of
/// them. `capped`: of cap_events. @collective
std::vector<SignalEvidence> collect_evidence(const UserLog& log, const std::vector<std::int64_t>& capped,
                                             const SignalOptions& options, const Communicator& comm);

}  // namespace rluf
