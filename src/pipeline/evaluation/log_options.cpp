#include "rluf/pipeline/evaluation/log_options.hpp"

namespace rluf {

void LogOptions::describe(OptionTable& table) {
  table.add(
      "arm_field", &arm_field,
      {.text = "field of a row of data.interactions that names the arm (model) that served it: arms, and policies "
               "over them, are then valued from the log, every response of which the love model scores; empty: they "
               "are not",
       .allow_empty = true});
  table.add("propensity_field", &propensity_field,
            {.text = "field of a row with the chance with which its arm was chosen; of rows without it that chance is "
                     "the arm's share of its use case and window"});
  table.add("policies", &policies,
            {.text = "JSON file of policies to value beside the arms: {NAME: ARM or {USE CASE or *: ARM or {ARM: "
                     "chance}}}; the gate is for these. Made up after a look at the same log they look better than "
                     "they are",
             .allow_empty = true});
  table.add("log_start", &start,
            {.text = "older rows are left out: those that the love model learned from flatter it",
             .unit = "seconds",
             .low = 0});
  table.add("log_windows", &windows,
            {.text = "equal parts of the log's time with shares of traffic of their own",
             .unit = "windows",
             .low = 1,
             .high = 1000});
  table.add(
      "switch_weight", &switch_weight,
      {.text = "SWITCH and SWITCH-DR take the love model's word above this weight; 0: the square root of the responses",
       .low = 0});
  table.add(
      "min_effective", &min_effective,
      {.text = "an estimator by weights is refused below this effective sample size", .unit = "responses", .low = 2});
  table.add("min_hearts", &min_hearts,
            {.text = "an estimator with a normal interval is refused below so many hearts of weight above 0",
             .unit = "hearts",
             .low = 1});
  table.add(
      "max_weight_share", &max_weight_share,
      {.text = "an estimator by weights is refused where one response has more of the weight", .low = 0, .high = 1});
  table.add(
      "max_unsupported", &max_unsupported,
      {.text = "and where more of the traffic is in parts that the policy's arms never served", .low = 0, .high = 1});
}

}  // namespace rluf
