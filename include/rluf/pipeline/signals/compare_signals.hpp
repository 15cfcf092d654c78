#pragma once
/// The signals stage: which of the users' signals to learn from.
#include "rluf/pipeline/signals/evidence.hpp"
#include "rluf/pipeline/signals/ranking.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// What the stage reads of [data].
struct SignalInput {
  const std::string& interactions;
  const std::string& user_key;
  std::int64_t max_rows = 0;
};

/// Makes tables/signals.json and data/signals.json (signal_choice.hpp), and prints the ranking. Without a log it says
/// so and makes nothing. The files are the same for every number of ranks.
/// @memory of a rank: its users' rows, 80 bytes each, three times while they travel; counts by pairs of signals
/// @collective @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used, and for a log of one user or
/// without signals
void run_signals(const SignalOptions& options, const SignalInput& input, const StageContext& context);
/// Of one rank, from the size of the log. @unit bytes
std::int64_t signals_memory_bytes(const SignalInput& input, const StageContext& context);

/// The table as it stands in tables/signals.json, best signal first.
nlohmann::json signals_table(const UserLog& log, const std::vector<SignalEvidence>& evidence,
                             const std::vector<Judgement>& ranking, const Recommendation& recommendation);
/// The same in lines for the log.
std::string signals_text(const UserLog& log, const std::vector<SignalEvidence>& evidence,
                         const std::vector<Judgement>& ranking, const Recommendation& recommendation);

}  // namespace rluf
