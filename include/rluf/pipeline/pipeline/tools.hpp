#pragma once
/// Commands that look at or use what a run made. They print results to stdout on rank 0.
#include <string>
#include <vector>

#include "rluf/pipeline/pipeline/run_config.hpp"

namespace rluf {

void tool_tokenize(const std::vector<std::string>& operands);
void tool_score(const RunConfig& config, const std::vector<std::string>& operands, const ProcessGrid& grid,
                at::Device device);
void tool_generate(const RunConfig& config, const std::vector<std::string>& operands, const ProcessGrid& grid,
                   at::Device device);
void tool_export(const RunConfig& config, const std::vector<std::string>& operands, const ProcessGrid& grid);
/// Which tensors of two checkpoints or model folders differ, where first and by how much.
/// @throws Error(kOther) if any does
void tool_compare(const std::vector<std::string>& operands);
/// Checksums of every checkpoint of a run and shapes of its models. @throws Error(kBadData) if one is damaged
void tool_verify(const std::vector<std::string>& operands);
/// Removes the checkpoints of a run that run.keep_last and run.keep_every do not keep.
void tool_prune(const RunConfig& config, const std::vector<std::string>& operands);
/// What a real A/B test says, from its log; a verdict for each arm.
/// @throws Error(kAlarm) with abtest.gate unless every arm may be shipped
void tool_abtest(const RunConfig& config, const std::vector<std::string>& operands);
/// Prints how many users and days an A/B test needs, from options or from data.interactions. Needs no MPI.
void tool_plan_ab(const RunConfig& config);
void tool_inspect(const RunConfig& config, const std::vector<std::string>& operands);
/// Whether this allocation can carry a run: ranks, threads, devices, all-reduce, file system; a verdict a line.
/// @collective @throws Error(kBadInput) if a check fails
void tool_preflight(const RunConfig& config, const ProcessGrid& grid, const Environment& environment);
/// Prints what a run needs and how long it takes; `name`: the input as the user wrote it. Needs no MPI.
/// @throws Error(kBadInput) if it does not fit, by how much and what would help
void tool_plan(const RunConfig& config, const std::string& name, bool header_only);
void tool_dry_run(const RunConfig& config, const std::string& name);
/// Checks everything that `command` would need, says what was checked, and makes nothing. @collective
void validate_inputs(const RunConfig& config, const std::string& command, const ProcessGrid& grid);

}  // namespace rluf
