#pragma once
#include "rluf/pipeline/stage.hpp"
#include "rluf/pipeline/validation/recommendation.hpp"

namespace rluf {

/// Writes tables/recommendation.json, which love weight to ship, where policies were validated, and report.html from
/// tables/*.json and metrics.csv: one self-contained file, pictures drawn by gnuplot where it is installed. Missing
/// tables are named, not hidden. Rank 0 works, the others wait. @collective
void run_report(const Guardrails& guardrails, const StageContext& context);

}  // namespace rluf
