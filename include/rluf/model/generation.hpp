#pragma once
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/kernels/sampling.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {

struct GenerationOptions {
  std::int64_t max_new_tokens = 128;
  std::int64_t num_samples = 1;  ///< a prompt; they share its prefill
  SamplingOptions sampling;
  std::vector<std::int32_t> stop_ids;
  std::uint64_t seed = 0;
  std::uint64_t round = 0;             ///< separates the draws of one CRRAFT round from the next
  std::int64_t prompts_per_batch = 8;  ///< a fixed unit of work: results do not depend on the number of ranks
};

struct Sample {
  TokenIds tokens;               ///< with the stop token, if one ended it
  std::vector<float> log_probs;  ///< of each token under the model (temperature 1, nothing cut)
  bool finished = false;         ///< ended by a stop token, not by length
};

/// Sample k of prompt p draws from RandomStream(seed, kSampling, round, prompt_ids[p] * num_samples + k), a uniform a
/// token.
/// @return [num_prompts][num_samples]. Not collective.
std::vector<std::vector<Sample>> generate(const Llama& model, const std::vector<TokenIds>& prompts,
                                          const std::vector<std::int64_t>& prompt_ids,
                                          const GenerationOptions& options);

/// The same over ranks: units of prompts_per_batch prompts are dealt to the ranks, everyone gets all samples.
/// @collective
std::vector<std::vector<Sample>> generate_over_ranks(const Llama& model, const std::vector<TokenIds>& prompts,
                                                     const std::vector<std::int64_t>& prompt_ids,
                                                     const GenerationOptions& options, const Communicator& data);

}  // namespace rluf
