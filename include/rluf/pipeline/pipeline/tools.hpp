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
void tool_inspect(const RunConfig& config, const std::vector<std::string>& operands);
/// Checks everything that `command` would need, says what was checked, and makes nothing. @collective
void validate_inputs(const RunConfig& config, const std::string& command, const ProcessGrid& grid);

}  // namespace rluf
