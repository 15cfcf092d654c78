#pragma once
#include <cstdint>
#include <string>

#include "rluf/config/option_table.hpp"

namespace rluf {

/// How policies over the arms of a log are valued.
struct LogOptions {
  std::string arm_field = "", propensity_field = "propensity", policies = "";
  double start = 0;  ///< @unit seconds
  std::int64_t windows = 1;
  double switch_weight = 0;  ///< 0: the root of the number of responses
  double min_effective = 200, max_weight_share = 0.1, max_unsupported = 0.01;
  std::int64_t min_hearts = 10;
  void describe(OptionTable& table);  ///< into the section that is open
};

}  // namespace rluf
