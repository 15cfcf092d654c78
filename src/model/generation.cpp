#include "rluf/model/generation.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <bit>

#include "decoder.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {
namespace {

/// One sequence of the unit that is still growing.
struct Growing {
  std::int64_t sequence;  ///< prompt of the unit * num_samples + sample
  Sample* sample;
  RandomStream random;
};

/// Draws the next token of every growing sequence. @shape logits [S, V] float32 on the CPU
void draw(const at::Tensor& logits_SV, const GenerationOptions& options, std::vector<Growing>& growing) {
  std::vector<double> uniforms;
  for (Growing& sequence : growing) uniforms.push_back(sequence.random.uniform());
  std::vector<std::int32_t> tokens(growing.size());
  std::vector<float> log_probs(growing.size());
  sample_tokens({logits_SV.const_data_ptr<float>(), static_cast<std::size_t>(logits_SV.numel())}, logits_SV.size(1),
                uniforms, options.sampling, tokens, log_probs);
  for (std::size_t s = 0; s < growing.size(); ++s) {
    Sample& sample = *growing[s].sample;
    sample.tokens.push_back(tokens[s]);
    sample.log_probs.push_back(log_probs[s]);
    sample.finished = std::find(options.stop_ids.begin(), options.stop_ids.end(), tokens[s]) != options.stop_ids.end();
  }
}

/// A model that was prepared for generation once. How depends on the prompts of all ranks together, so that their
/// division into units and ranks changes no number.
struct Engine {
  Llama model;
  DecoderFactory decoders;
  Engine(const Llama& trained, std::size_t num_prompts)
      : model(trained.for_inference()),
        decoders(model.device().is_cpu() ? host_decoders(model, num_prompts > 1) : device_decoders(model)) {}
};

/// A unit of prompts: their prefill, then one token a step for every sequence that has not ended.
void generate_unit(const Engine& engine, const std::vector<TokenIds>& prompts,
                   const std::vector<std::int64_t>& prompt_ids, const GenerationOptions& options,
                   std::vector<std::vector<Sample>>& samples) {
  const std::int64_t N = options.num_samples;
  DecoderSize size{static_cast<std::int64_t>(prompts.size()), N, 0, options.max_new_tokens};
  for (const TokenIds& prompt : prompts) {
    if (prompt.empty()) fail_data("a prompt is empty", "there is nothing to continue", "remove it from the prompts");
    size.longest_prompt = std::max(size.longest_prompt, static_cast<std::int64_t>(prompt.size()));
  }
  engine.model.check_length(size.longest_prompt + options.max_new_tokens);
  const auto decoder = engine.decoders(size);

  std::vector<Growing> growing;
  for (std::size_t p = 0; p < prompts.size(); ++p)
    for (std::int64_t k = 0; k < N; ++k)
      growing.push_back({.sequence = static_cast<std::int64_t>(p) * N + k,
                         .sample = &samples[p][static_cast<std::size_t>(k)],
                         .random = RandomStream(options.seed, Purpose::kSampling, options.round,
                                                static_cast<std::uint64_t>(prompt_ids[p] * N + k))});
  at::Tensor logits_SV = decoder->prefill(prompts).repeat_interleave(N, 0);
  for (std::int64_t step = 0;; ++step) {
    draw(logits_SV, options, growing);
    std::erase_if(growing, [](const Growing& sequence) { return sequence.sample->finished; });
    if (growing.empty() || step + 1 == options.max_new_tokens) return;
    std::vector<std::int64_t> sequences;
    std::vector<std::int32_t> tokens;
    for (const Growing& sequence : growing) {
      sequences.push_back(sequence.sequence);
      tokens.push_back(sequence.sample->tokens.back());
    }
    logits_SV = decoder->step(sequences, tokens);
  }
}

/// Units [first, last) of the prompts, into samples.
void generate_units(const Engine& engine, const std::vector<TokenIds>& prompts,
                    const std::vector<std::int64_t>& prompt_ids, const GenerationOptions& options, std::int64_t unit,
                    std::vector<std::vector<Sample>>& samples) {
  const std::size_t first = static_cast<std::size_t>(unit * options.prompts_per_batch);
  const std::size_t last = std::min(prompts.size(), first + static_cast<std::size_t>(options.prompts_per_batch));
  std::vector<std::vector<Sample>> mine(last - first,
                                        std::vector<Sample>(static_cast<std::size_t>(options.num_samples)));
  generate_unit(
      engine,
      {prompts.begin() + static_cast<std::ptrdiff_t>(first), prompts.begin() + static_cast<std::ptrdiff_t>(last)},
      {prompt_ids.begin() + static_cast<std::ptrdiff_t>(first), prompt_ids.begin() + static_cast<std::ptrdiff_t>(last)},
      options, mine);
  std::move(mine.begin(), mine.end(), samples.begin() + static_cast<std::ptrdiff_t>(first));
}

std::int64_t num_units(const std::vector<TokenIds>& prompts, const GenerationOptions& options) {
  return (static_cast<std::int64_t>(prompts.size()) + options.prompts_per_batch - 1) / options.prompts_per_batch;
}

/// Samples as plain numbers, for the exchange between ranks: finished, length, tokens, bits of the log-probabilities.
void append(std::vector<std::int64_t>& out, const Sample& sample) {
  out.push_back(sample.finished ? 1 : 0);
  out.push_back(static_cast<std::int64_t>(sample.tokens.size()));
  out.insert(out.end(), sample.tokens.begin(), sample.tokens.end());
  for (const float log_prob : sample.log_probs) out.push_back(std::bit_cast<std::int32_t>(log_prob));
}

Sample take(const std::vector<std::int64_t>& numbers, std::size_t& next) {
  Sample sample;
  sample.finished = numbers[next++] == 1;
  const auto length = static_cast<std::size_t>(numbers[next++]);
  for (std::size_t t = 0; t < length; ++t) sample.tokens.push_back(static_cast<std::int32_t>(numbers[next++]));
  for (std::size_t t = 0; t < length; ++t)
    sample.log_probs.push_back(std::bit_cast<float>(static_cast<std::int32_t>(numbers[next++])));
  return sample;
}

}  // namespace

std::vector<std::vector<Sample>> generate(const Llama& model, const std::vector<TokenIds>& prompts,
                                          const std::vector<std::int64_t>& prompt_ids,
                                          const GenerationOptions& options) {
  RLUF_ASSERT(prompts.size() == prompt_ids.size());
  torch::NoGradGuard no_grad;
  const Engine engine(model, prompts.size());
  std::vector<std::vector<Sample>> samples(prompts.size());
  for (std::int64_t unit = 0; unit < num_units(prompts, options); ++unit)
    generate_units(engine, prompts, prompt_ids, options, unit, samples);
  return samples;
}

std::vector<std::vector<Sample>> generate_over_ranks(const Llama& model, const std::vector<TokenIds>& prompts,
                                                     const std::vector<std::int64_t>& prompt_ids,
                                                     const GenerationOptions& options, const Communicator& data) {
  RLUF_ASSERT(prompts.size() == prompt_ids.size());
  torch::NoGradGuard no_grad;
  const Engine engine(model, prompts.size());
  std::vector<std::vector<Sample>> samples(prompts.size());
  const std::int64_t units = num_units(prompts, options), size = data.size(), rounds = (units + size - 1) / size;
  Progress progress("generation", "units", rounds);
  for (std::int64_t round = 0; round < rounds; ++round) {
    guarded(data, [&] {
      const std::int64_t unit = round * size + data.rank();
      if (unit < units) generate_units(engine, prompts, prompt_ids, options, unit, samples);
    });
    progress.update(round + 1);
    stop_if_requested(data, "generating");
  }
  if (size == 1) return samples;
  std::vector<std::int64_t> mine;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    if (samples[p].empty()) continue;
    mine.push_back(static_cast<std::int64_t>(p));
    for (const Sample& sample : samples[p]) append(mine, sample);
  }
  const std::vector<std::int64_t> all = data.all_gather(mine);
  for (std::size_t next = 0; next < all.size();) {
    auto& target = samples[static_cast<std::size_t>(all[next++])];
    target.clear();
    for (std::int64_t k = 0; k < options.num_samples; ++k) target.push_back(take(all, next));
  }
  return samples;
}

}  // namespace rluf
