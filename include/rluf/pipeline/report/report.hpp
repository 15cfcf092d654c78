#pragma once
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Writes report.html from tables/*.json and metrics.csv: one self-contained file, pictures drawn by gnuplot where it
/// is installed. Missing tables are named, not hidden. Rank 0 works, the others wait. @collective
void run_report(const StageContext& context);

}  // namespace rluf
