#pragma once
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"

namespace rluf {

struct SignalOptions {
  bool enabled = true;
  std::vector<std::string> negative = {"thumbs_down", "regenerate"};
  std::string retention = "retained_14d";
  double alpha = 0.05, power = 0.8;
  double effect = 0.05;  ///< @unit difference of retention, 0..1
  double min_user_share = 0.001, min_odds_ratio = 1.0;
  double max_contradiction = 0.5, max_drift = 0.5, max_reactor_share = 0.25;
  std::int64_t time_slices = 8, user_cap = 0;
  void describe(OptionTable& table);
};

}  // namespace rluf
