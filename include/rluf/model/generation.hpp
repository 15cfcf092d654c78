#pragma once
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/kernels/sampling.hpp"
#include "rluf/model/llama.hpp"
#include "rluf/model/scheduler.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {

/// How much of generation goes on at a time on one rank. It decides on speed and memory; on the host no token depends
/// on it.
struct BatchingOptions {
  std::int64_t prompts_per_batch = 8;  ///< prompts that are continued at a time, each with all its samples
  std::int64_t prefill_tokens = 256;   ///< tokens of prompts in a step, beside one of each sample that grows
  std::int64_t cache_mebibytes = 0;    ///< keys and values; 0: what prompts_per_batch responses of full length need
  void describe(OptionTable& table);   ///< adds to the current section
};

struct GenerationOptions {
  std::int64_t max_new_tokens = 128;
  std::int64_t num_samples = 1;  ///< a prompt; they share its prefill
  SamplingOptions sampling;
  std::vector<std::int32_t> stop_ids;
  std::uint64_t seed = 0;
  std::uint64_t round = 0;  ///< separates the draws of one CRRAFT round from the next
  BatchingOptions batching;
  bool use_library = false;  ///< LibTorch's operations instead of our kernels on the host too, as on a device
};

struct Sample {
  TokenIds tokens;               ///< with the stop token, if one ended it
  std::vector<float> log_probs;  ///< of each token under the model (temperature 1, nothing cut)
  bool finished = false;         ///< ended by a stop token, not by length
};

/// Sample k of prompt p draws from RandomStream(seed, kSampling, round, prompt_ids[p] * num_samples + k), a uniform a
/// token. On the host it is a pure function of weights, prompt and that stream, bit for bit.
/// @return [num_prompts][num_samples]; `counts` gets what was done for it. Not collective.
/// @throws Error(kBadInput) if the cache cannot hold the longest response, Error(kBadData) for an empty prompt
std::vector<std::vector<Sample>> generate(const Llama& model, const std::vector<TokenIds>& prompts,
                                          const std::vector<std::int64_t>& prompt_ids, const GenerationOptions& options,
                                          SchedulerCounts* counts = nullptr);

/// The same over ranks: prompts are handed out to the ranks, the longest first, and everyone gets all samples. On the
/// host a rank takes the next prompt whenever it has room; on a device, where the rounding of a sum depends on its
/// neighbours, prompts are dealt in turn, so that a run can be repeated. @collective
std::vector<std::vector<Sample>> generate_over_ranks(const Llama& model, const std::vector<TokenIds>& prompts,
                                                     const std::vector<std::int64_t>& prompt_ids,
                                                     const GenerationOptions& options, const Communicator& comm);

/// Keys and values that one rank keeps at most for prompts and responses of at most so many tokens. @unit bytes
std::int64_t cache_memory_bytes(const LlamaConfig& config, const GenerationOptions& options, std::int64_t max_tokens);

}  // namespace rluf
