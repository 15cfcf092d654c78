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
void tool_inspect(const std::vector<std::string>& operands);
/// Checks everything that a run of `config` would need, and says what was checked.
void validate_inputs(const RunConfig& config, const ProcessGrid& grid);

}  // namespace rluf
