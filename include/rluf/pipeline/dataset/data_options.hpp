#pragma once
#include <string>

#include "rluf/config/option_table.hpp"

namespace rluf {

struct DataOptions {
  std::string interactions = "", helpfulness_pairs = "", safety_pairs = "", prompts = "", sft = "";
  std::string candidates = "";    ///< folder of NAME.jsonl(.gz), or model folders separated by commas
  std::string online = "";        ///< JSON: candidate -> {love_rate}
  std::string signal = "love";    ///< field of signals{} that is the label; auto: the recommended one
  std::string reactors = "keep";  ///< or cap, drop: positives of users whom the signals stage lists
  std::int64_t max_turns = 10, max_tokens = 1024, max_rows = 0;
  double holdout_share = 0.1;             ///< the last part of time
  double positive_rate = 0.1;             ///< wanted share of positives in training; 0: leave as it is
  std::string balance = "negative_keep";  ///< or positive_repeat
  std::string user_key = "rluf";          ///< key of the hash that replaces user ids
  void describe(OptionTable& table);
};

}  // namespace rluf
