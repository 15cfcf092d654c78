#pragma once
/// Baseline responses a_bar: one a prompt, made before training starts and shared by all love weights.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/pipeline/policy/policy_round.hpp"

namespace rluf {

/// Draws one response a prompt from the reference (round 0 of the sampling streams). @collective
std::vector<Sample> draw_baselines(const Llama& reference, const std::vector<Prompt>& prompts,
                                   const PolicyOptions& options, const std::vector<std::int32_t>& stop_ids,
                                   std::uint64_t seed, const Communicator& data);

/// Puts the preferred answer of a pair in place of a drawn one where the prompt's tokens are equal. @collective
/// @return number of prompts that got one
std::int64_t use_preferred_answers(const std::string& pairs_path, const std::vector<Prompt>& prompts,
                                   std::vector<Sample>& baselines, const Communicator& data);

/// Rank 0 writes the responses under `identity`; everyone reads them back. @collective
void write_baselines(const std::string& path, const nlohmann::json& identity, const std::vector<Prompt>& prompts,
                     const std::vector<Sample>& baselines, const std::vector<std::string>& texts,
                     const Communicator& data);
/// Empty if there is no such file or it was made with another identity. @collective same answer on all ranks
std::vector<Sample> read_baselines(const std::string& path, const nlohmann::json& identity,
                                   const std::vector<Prompt>& prompts, const Communicator& data);

}  // namespace rluf
