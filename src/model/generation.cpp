#include "rluf/model/generation.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "decoder.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/paged_attention.hpp"
#include "rluf/parallel/run_control.hpp"
#include "rluf/parallel/work_counter.hpp"

namespace rluf {
namespace {

constexpr double kLookSeconds = 0.5;  ///< between two looks for requests and other ranks' errors

std::int64_t blocks_of(std::int64_t num_tokens) { return (num_tokens + kBlockTokens - 1) / kBlockTokens; }

/// Blocks of a prompt and its samples at their longest: they share the prompt's full ones.
std::int64_t blocks_of_samples(std::int64_t prompt_tokens, const GenerationOptions& options) {
  return blocks_of(prompt_tokens) + options.num_samples * (blocks_of(options.max_new_tokens) + 1);
}

std::int64_t cache_blocks(const LlamaConfig& config, const GenerationOptions& options, std::int64_t longest_prompt,
                          std::int64_t num_prompts) {
  const std::int64_t of_prompt = blocks_of_samples(longest_prompt, options);
  if (options.batching.cache_mebibytes == 0)
    return std::min(num_prompts, options.batching.prompts_per_batch) * of_prompt;
  return std::min(num_prompts * of_prompt, (options.batching.cache_mebibytes << 20) / cache_block_bytes(config));
}

std::int64_t longest_of(const std::vector<TokenIds>& prompts) {
  std::size_t longest = 0;
  for (const TokenIds& prompt : prompts) {
    if (prompt.empty()) fail_data("a prompt is empty", "there is nothing to continue", "remove it from the prompts");
    longest = std::max(longest, prompt.size());
  }
  return static_cast<std::int64_t>(longest);
}

/// Prompts by length, so that the last ones to be handed out are short.
std::vector<std::size_t> longest_first(const std::vector<TokenIds>& prompts) {
  std::vector<std::size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return prompts[a].size() > prompts[b].size(); });
  return order;
}

/// One rank's part of a generation: takes prompts, one after the other, and continues several at a time.
class Engine {
 public:
  Engine(const Llama& trained, const std::vector<TokenIds>& prompts, const std::vector<std::int64_t>& prompt_ids,
         const GenerationOptions& options, std::int64_t num_ranks)
      : prompts_(prompts), prompt_ids_(prompt_ids), options_(options) {
    const std::int64_t longest = longest_of(prompts), num_prompts = std::ssize(prompts);
    trained.check_length(longest + options.max_new_tokens);
    // No rank takes more at a time than its share, so that there is work for all.
    const std::int64_t at_once =
        std::min(options.batching.prompts_per_batch, (num_prompts + num_ranks - 1) / num_ranks);
    limits_ = {.num_blocks = cache_blocks(trained.part_config(), options, longest, at_once),
               .block_tokens = kBlockTokens,
               .max_running = at_once * options.num_samples,
               .prefill_tokens = options.batching.prefill_tokens};
    if (limits_.num_blocks < blocks_of(longest + options.max_new_tokens))
      fail_input(concat("a cache of ", options.batching.cache_mebibytes, " MiB holds ",
                        limits_.num_blocks * kBlockTokens, " tokens"),
                 concat("a prompt of ", longest, " tokens and a response of ", options.max_new_tokens, " do not fit"),
                 "raise cache_mebibytes (0: as much as is needed) or lower max_new_tokens");
    const Llama model = trained.for_inference();
    const bool on_host = model.device().is_cpu() && !options.use_library;
    decoder_ = on_host ? host_decoder(model, limits_.num_blocks) : device_decoder(model, limits_.num_blocks);
  }

  /// Until next_prompt() has none left and all that were taken have ended, or go_on(), which is asked at every step,
  /// says no. Fills the samples of the prompts that this rank took.
  void run(const std::function<std::optional<std::size_t>()>& next_prompt, const std::function<bool()>& go_on,
           std::vector<std::vector<Sample>>& samples, SchedulerCounts* counts) {
    Scheduler scheduler(limits_);
    bool more = true;
    while (true) {
      while (more && scheduler.num_unfinished() + options_.num_samples <= limits_.max_running) {
        const std::optional<std::size_t> prompt = next_prompt();
        more = prompt.has_value();
        if (more) begin(*prompt, scheduler, samples[*prompt]);
      }
      if (scheduler.num_unfinished() == 0 || !go_on()) break;
      const StepPlan plan = scheduler.plan();
      draw(plan, decoder_->step(plan), scheduler);
    }
    if (counts != nullptr) *counts = scheduler.counts();
  }

 private:
  struct Growing {
    Sample* sample;
    RandomStream random;
  };

  void begin(std::size_t prompt, Scheduler& scheduler, std::vector<Sample>& samples) {
    samples.assign(static_cast<std::size_t>(options_.num_samples), {});
    const std::int64_t first = scheduler.add(prompts_[prompt], options_.num_samples);
    for (std::int64_t k = 0; k < options_.num_samples; ++k)
      growing_.emplace(
          first + k, Growing{&samples[static_cast<std::size_t>(k)],
                             RandomStream(options_.seed, Purpose::kSampling, options_.round,
                                          static_cast<std::uint64_t>(prompt_ids_[prompt] * options_.num_samples + k))});
  }

  /// Draws the next token of every sequence that has logits now. @shape logits [runs that draw, V] float32 on the CPU
  void draw(const StepPlan& plan, at::Tensor logits_RV, Scheduler& scheduler) {
    std::vector<std::int64_t> sequences, rows;  // row of each
    std::int64_t row = 0;
    for (const Run& run : plan.runs) {
      if (run.draws.empty()) continue;
      sequences.insert(sequences.end(), run.draws.begin(), run.draws.end());
      rows.resize(sequences.size(), row++);
    }
    if (sequences.empty()) return;
    if (std::ssize(sequences) > row) logits_RV = logits_RV.index_select(0, torch::tensor(rows, torch::kInt64));
    std::vector<double> uniforms;
    for (const std::int64_t sequence : sequences) uniforms.push_back(growing_.at(sequence).random.uniform());
    std::vector<std::int32_t> tokens(sequences.size());
    std::vector<float> log_probs(sequences.size());
    sample_tokens({logits_RV.const_data_ptr<float>(), static_cast<std::size_t>(logits_RV.numel())}, logits_RV.size(1),
                  uniforms, options_.sampling, tokens, log_probs);
    const auto& stops = options_.stop_ids;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      Sample& sample = *growing_.at(sequences[s]).sample;
      sample.tokens.push_back(tokens[s]);
      sample.log_probs.push_back(log_probs[s]);
      sample.finished = std::find(stops.begin(), stops.end(), tokens[s]) != stops.end();
      const bool ends = sample.finished || std::ssize(sample.tokens) == options_.max_new_tokens;
      scheduler.drawn(sequences[s], tokens[s], ends);
      if (ends) growing_.erase(sequences[s]);
    }
  }

  const std::vector<TokenIds>& prompts_;
  const std::vector<std::int64_t>& prompt_ids_;
  const GenerationOptions& options_;
  SchedulerLimits limits_{};
  std::unique_ptr<Decoder> decoder_;
  std::map<std::int64_t, Growing> growing_;  ///< by the scheduler's number
};

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

/// Everyone's samples to all.
void exchange(std::vector<std::vector<Sample>>& samples, std::int64_t num_samples, const Communicator& replicas) {
  if (replicas.size() == 1) return;
  std::vector<std::int64_t> mine;
  for (std::size_t p = 0; p < samples.size(); ++p) {
    if (samples[p].empty()) continue;
    mine.push_back(static_cast<std::int64_t>(p));
    for (const Sample& sample : samples[p]) append(mine, sample);
  }
  const std::vector<std::int64_t> all = replicas.all_gather(mine);
  for (std::size_t next = 0; next < all.size();) {
    auto& target = samples[static_cast<std::size_t>(all[next++])];
    target.clear();
    for (std::int64_t k = 0; k < num_samples; ++k) target.push_back(take(all, next));
  }
}

/// What the first rank of the tensor axis says, for all of them: they do the same work together.
std::int64_t agreed(std::int64_t value, const LayoutPointer& layout) {
  if (!layout || layout->grid.tensor.size() == 1) return value;
  const Communicator& axis = layout->grid.tensor;
  return axis.all_reduce(axis.rank() == 0 ? value : std::numeric_limits<std::int64_t>::min(), Reduce::kMax);
}

/// This rank's part of generate_over_ranks; ends early if another rank fails or the world asks for a stop.
void generate_share(Engine& engine, const std::vector<std::size_t>& order, bool in_turn, WorkCounter& counter,
                    const Communicator& replicas, const LayoutPointer& layout,
                    std::vector<std::vector<Sample>>& samples) {
  const std::int64_t total = std::ssize(order);
  Progress progress("generation", "prompts", total);
  std::int64_t num_taken = 0;
  double last_look_seconds = 0;
  bool stopped = false;
  const auto next_prompt = [&]() -> std::optional<std::size_t> {
    const bool asks = !layout || layout->grid.tensor.rank() == 0;
    const std::int64_t number =
        in_turn ? num_taken * replicas.size() + replicas.rank() : agreed(asks ? counter.next() : 0, layout);
    ++num_taken;
    return number < total ? std::optional(order[static_cast<std::size_t>(number)]) : std::nullopt;
  };
  const auto go_on = [&] {
    if (agreed(std::int64_t{now_seconds() - last_look_seconds < kLookSeconds}, layout) == 1) return true;
    last_look_seconds = now_seconds();
    const std::int64_t taken = in_turn ? num_taken * replicas.size() : counter.num_handed_out();
    progress.update(std::min(taken, total - 1));  // those that were taken are not done yet
    if (stop_wanted_here()) counter.close();
    stopped = agreed(std::int64_t{counter.is_closed()}, layout) == 1;
    return !stopped;
  };
  try {
    engine.run(next_prompt, go_on, samples, nullptr);
  } catch (...) {
    counter.close();  // so that nobody works on in vain
    throw;
  }
  if (!stopped) progress.update(total);
}

}  // namespace

void BatchingOptions::describe(OptionTable& table) {
  table.add("prompts_per_batch", &prompts_per_batch,
            {.text = "prompts that one rank continues at a time; the next one begins where one has ended",
             .unit = "prompts",
             .low = 1,
             .high = 65536});
  table.add("prefill_tokens", &prefill_tokens,
            {.text = "tokens of prompts that one step of generation computes at most, beside one of each response",
             .unit = "tokens",
             .low = 1,
             .high = 1048576});
  table.add("cache_mebibytes", &cache_mebibytes,
            {.text = "keys and values that one rank keeps; where they are too few, responses wait and are recomputed; "
                     "0: what prompts_per_batch prompts need at their longest",
             .unit = "MiB",
             .low = 0,
             .high = 1e9});
}

std::int64_t cache_memory_bytes(const LlamaConfig& config, const GenerationOptions& options, std::int64_t max_tokens) {
  return cache_block_bytes(config) *
         cache_blocks(config, options, max_tokens - options.max_new_tokens, options.batching.prompts_per_batch);
}

std::vector<std::vector<Sample>> generate(const Llama& model, const std::vector<TokenIds>& prompts,
                                          const std::vector<std::int64_t>& prompt_ids, const GenerationOptions& options,
                                          SchedulerCounts* counts) {
  RLUF_ASSERT(prompts.size() == prompt_ids.size());
  std::vector<std::vector<Sample>> samples(prompts.size());
  if (prompts.empty()) return samples;
  const torch::NoGradGuard no_grad;
  const std::vector<std::size_t> order = longest_first(prompts);
  std::size_t next = 0;
  const auto next_prompt = [&] { return next < order.size() ? std::optional(order[next++]) : std::nullopt; };
  Engine(model, prompts, prompt_ids, options, 1)
      .run(
          next_prompt, [] { return true; }, samples, counts);
  return samples;
}

std::vector<std::vector<Sample>> generate_over_ranks(const Llama& model, const std::vector<TokenIds>& prompts,
                                                     const std::vector<std::int64_t>& prompt_ids,
                                                     const GenerationOptions& options, const Communicator& comm) {
  RLUF_ASSERT(prompts.size() == prompt_ids.size());
  std::vector<std::vector<Sample>> samples(prompts.size());
  if (prompts.empty()) return samples;
  const torch::NoGradGuard no_grad;
  const Communicator& replicas = replicas_of(model.layout(), comm);
  WorkCounter counter(comm);
  guarded(comm, [&] {
    Engine engine(model, prompts, prompt_ids, options, replicas.size());
    generate_share(engine, longest_first(prompts), !model.device().is_cpu(), counter, replicas, model.layout(),
                   samples);
  });
  stop_if_requested(comm, "generating");
  exchange(samples, options.num_samples, replicas);
  return samples;
}

}  // namespace rluf
