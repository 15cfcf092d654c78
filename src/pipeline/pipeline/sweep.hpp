#pragma once
// rluf sweep
#include "rluf/pipeline/pipeline/command.hpp"
#include "run_stages.hpp"

namespace rluf {

/// Whether every point of the sweep can run, before anything is made. @throws Error(kBadInput) if not
void check_sweep(const CommandLine& line, const RunConfig& config);

/// Trains and validates policies with every combination of the values in sweep.vary, or by successive halving with
/// fewer rounds first. Each point has a run directory below RUN/sweep, which links to the results of the stages that
/// all points share; finished ones are skipped, an unfinished one goes on. Writes tables/sweep.json and the report.
/// The options are those that check_sweep has seen. @collective
void run_sweep(const CommandLine& line, const Job& job);

}  // namespace rluf
