#pragma once
/// The part of the evaluate stage that looks at the log.
#include "rluf/pipeline/evaluation/evaluate.hpp"

namespace rluf {

struct RewardModel;

/// {"log": table, "log_gate": rows, where there are policies to gate}. `love` may be missing. @collective
nlohmann::json value_log(const EvaluationOptions& options, const DataOptions& data, const RewardModel* love,
                         const StageContext& context);

}  // namespace rluf
