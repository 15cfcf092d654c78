#pragma once
/// The interaction log as an experiment: which arm (model) served each response, and what the love model says of it.
#include <cstdint>
#include <string>
#include <vector>

#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/evaluation/log_options.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

struct RewardModel;

struct ServedResponse {
  std::int64_t user = 0;  ///< number from 0
  std::int32_t arm = 0, use_case = 0, window = 0;
  bool observed = false;  ///< whether the log says if the signal was given
  double reward = 0;
  double score = 0;       ///< P[Love]; NaN without a love model
  double propensity = 0;  ///< chance with which the arm was chosen, as the row says; 0: it does not
  std::int64_t timestamp = 0;
};

/// Rows read are `rows` and what was left out: duplicates, before_start, without_arm.
struct ServedLog {
  std::vector<ServedResponse> rows;
  std::vector<std::string> arms, use_cases;  ///< in the order of their first rows
  std::int64_t num_users = 0, num_windows = 1;
  std::int64_t read = 0, duplicates = 0, before_start = 0, without_arm = 0, truncated = 0;
  bool is_scored = false;
  double days() const;
};

/// Reads data.interactions and scores its responses with `love` (none: not scored). Of exact duplicates the first in
/// (timestamp, line) stays, as in the dataset stage. `signal`: field of signals{}; a row without it is not observed.
/// @memory 100 bytes a row and the texts of a few thousand rows, on every rank @collective
/// @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used, or if no row names an arm or shows the signal
ServedLog read_served_log(const LogOptions& options, const DataOptions& data, const std::string& signal,
                          const RewardModel* love, std::int64_t micro_batch_tokens, const StageContext& context);

}  // namespace rluf
