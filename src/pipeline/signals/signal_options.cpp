#include "rluf/pipeline/signals/signal_options.hpp"

namespace rluf {

void SignalOptions::describe(OptionTable& table) {
  table.section(
      "signals",
      "Which signal to learn from: every field of signals{} in data.interactions, judged by availability, tie "
      "to retention and unambiguity. data.signal = auto takes the recommended one.");
  table.add("enabled", &enabled, {.text = "rluf run compares the signals of data.interactions before anything else"});
  table.add("negative", &negative,
            {.text = "signals that say that a response was bad; all others are taken for praise", .allow_empty = true});
  table.add("retention", &retention,
            {.text = "field of a row that says (0, 1) whether the user was still there later: long-term satisfaction"});
  table.add("alpha", &alpha,
            {.text = "error of the first kind: intervals cover 1 - alpha, users who react beyond chance are listed at "
                     "this false discovery rate",
             .low = 1e-6,
             .high = 0.5});
  table.add("power", &power,
            {.text = "chance to see signals.effect, for the examples needed", .low = 0.5, .high = 0.999});
  table.add(
      "effect", &effect,
      {.text = "difference of retention that the examples of a signal must suffice to see", .low = 0.001, .high = 0.5});
  table.add("min_user_share", &min_user_share,
            {.text = "available: at least this share of the users ever gave it", .low = 0, .high = 1});
  table.add(
      "min_odds_ratio", &min_odds_ratio,
      {.text = "tied: the lower bound of its adjusted odds ratio of retention is above this", .low = 0.1, .high = 100});
  table.add(
      "max_contradiction", &max_contradiction,
      {.text = "unambiguous: signals of the other kind (see negative) come with it at most this times as often as "
               "without it",
       .low = 0,
       .high = 10});
  table.add(
      "max_drift", &max_drift,
      {.text = "unambiguous: its rate's spread over time, beyond chance and relative to the rate, is at most this",
       .low = 0,
       .high = 10});
  table.add("max_reactor_share", &max_reactor_share,
            {.text = "unambiguous: at most this share of it comes from users who give it beyond chance",
             .low = 0,
             .high = 1});
  table.add(
      "time_slices", &time_slices,
      {.text = "equal parts of the log's time in which rates are compared", .unit = "slices", .low = 2, .high = 1000});
  table.add("user_cap", &user_cap,
            {.text = "of each user only so many events of a signal count, the first in time; with data.reactors = cap "
                     "this is what listed users keep; 0: no cap, and listed users keep what chance may reach",
             .unit = "events",
             .low = 0,
             .high = 1e9});
}

}  // namespace rluf
