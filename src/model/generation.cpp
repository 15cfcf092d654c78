// Shape letters as in llama.cpp; S sequences being decoded, C capacity of the cache.
#include "rluf/model/generation.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/decode.hpp"
#include "rluf/model/packed_ops.hpp"
#include "rluf/parallel/stop_signal.hpp"

namespace rluf {
namespace {

template <class T>
std::span<T> span_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<std::remove_const_t<T>>(), static_cast<std::size_t>(tensor.numel())};
}

/// Keys and values of all sequences of a unit, float32. @shape each [S, G, C, K], one a layer
class KvCache {
 public:
  KvCache(const LlamaConfig& config, std::int64_t num_sequences, std::int64_t capacity, at::Device device)
      : capacity_(capacity) {
    const std::vector<std::int64_t> shape{num_sequences, config.num_kv_heads, capacity, config.head_dim};
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
      keys_.push_back(torch::zeros(shape, torch::TensorOptions(device)));
      values_.push_back(torch::zeros(shape, torch::TensorOptions(device)));
    }
  }

  /// A prompt's keys and values become the start of sequences [first, first + count). @shape k, v [T, G, K]
  void fill(std::int64_t layer, std::int64_t first, std::int64_t count, const at::Tensor& k_TGK,
            const at::Tensor& v_TGK) {
    const auto put = [&](at::Tensor& cache, const at::Tensor& rows) {
      cache.narrow(0, first, count)
          .narrow(2, 0, rows.size(0))
          .copy_(rows.transpose(0, 1).unsqueeze(0).expand({count, -1, -1, -1}));
    };
    put(keys_[static_cast<std::size_t>(layer)], k_TGK);
    put(values_[static_cast<std::size_t>(layer)], v_TGK);
  }

  /// Keeps the given sequences only, in that order.
  void keep(const at::Tensor& sequences) {
    for (auto* side : {&keys_, &values_})
      for (auto& tensor : *side) tensor = tensor.index_select(0, sequences);
  }

  /// Appends one token a sequence and attends. @shape q [S, H, K]; k, v [S, G, K]; lengths before the token
  at::Tensor attend(std::int64_t layer, const at::Tensor& q_SHK, const at::Tensor& k_SGK, const at::Tensor& v_SGK,
                    const std::vector<std::int64_t>& lengths) {
    at::Tensor &keys = keys_[static_cast<std::size_t>(layer)], &values = values_[static_cast<std::size_t>(layer)];
    const std::int64_t S = q_SHK.size(0), H = q_SHK.size(1), G = k_SGK.size(1), K = q_SHK.size(2);
    if (q_SHK.device().is_cpu()) {
      const at::Tensor k = k_SGK.to(torch::kFloat32).contiguous(), v = v_SGK.to(torch::kFloat32).contiguous();
      const at::Tensor q = q_SHK.to(torch::kFloat32).contiguous();
      std::vector<std::int64_t> now(lengths);
      for (std::int64_t s = 0; s < S; ++s) {
        const std::int64_t length = now[static_cast<std::size_t>(s)]++;
        for (std::int64_t g = 0; g < G; ++g) {
          const std::int64_t to = ((s * G + g) * capacity_ + length) * K, from = (s * G + g) * K;
          std::memcpy(keys.data_ptr<float>() + to, k.data_ptr<float>() + from,
                      sizeof(float) * static_cast<std::size_t>(K));
          std::memcpy(values.data_ptr<float>() + to, v.data_ptr<float>() + from,
                      sizeof(float) * static_cast<std::size_t>(K));
        }
      }
      at::Tensor out = torch::empty_like(q);
      decode_attention({S, H, G, K, capacity_}, span_of<const float>(q), span_of<const float>(keys),
                       span_of<const float>(values), now, span_of<float>(out));
      return out.to(q_SHK.scalar_type());
    }
    const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end()) + 1;
    const at::Tensor lengths_S = torch::tensor(lengths, torch::kInt64).to(q_SHK.device());
    const at::Tensor index = lengths_S.view({S, 1, 1, 1}).expand({S, G, 1, K});
    keys.scatter_(2, index, k_SGK.unsqueeze(2).to(torch::kFloat32));
    values.scatter_(2, index, v_SGK.unsqueeze(2).to(torch::kFloat32));
    const at::Tensor mask =
        torch::arange(longest, lengths_S.options()).view({1, 1, 1, longest}).le(lengths_S.view({S, 1, 1, 1}));
    return at::scaled_dot_product_attention(q_SHK.unsqueeze(2).to(torch::kFloat32), keys.narrow(2, 0, longest),
                                            values.narrow(2, 0, longest), mask, 0.0, false, {}, true)
        .squeeze(2)
        .to(q_SHK.scalar_type());
  }

 private:
  std::int64_t capacity_;
  std::vector<at::Tensor> keys_, values_;
};

/// One sequence of the unit that is still growing.
struct Growing {
  Sample* sample;
  RandomStream random;
  std::int64_t length;  ///< tokens in the cache
};

/// Draws the next token of every growing sequence. @shape logits [S, V] float32 on the CPU
void draw(const at::Tensor& logits_SV, const GenerationOptions& options, std::vector<Growing>& growing) {
  std::vector<double> uniforms;
  for (Growing& sequence : growing) uniforms.push_back(sequence.random.uniform());
  std::vector<std::int32_t> tokens(growing.size());
  std::vector<float> log_probs(growing.size());
  sample_tokens(span_of<const float>(logits_SV), logits_SV.size(1), uniforms, options.sampling, tokens, log_probs);
  for (std::size_t s = 0; s < growing.size(); ++s) {
    Sample& sample = *growing[s].sample;
    sample.tokens.push_back(tokens[s]);
    sample.log_probs.push_back(log_probs[s]);
    sample.finished = std::find(options.stop_ids.begin(), options.stop_ids.end(), tokens[s]) != options.stop_ids.end();
  }
}

/// A unit of prompts: one packed prefill, then one token a step for every sequence that has not ended.
void generate_unit(const Llama& model, const std::vector<TokenIds>& prompts,
                   const std::vector<std::int64_t>& prompt_ids, const GenerationOptions& options,
                   std::vector<std::vector<Sample>>& samples) {
  const std::int64_t N = options.num_samples, num_prompts = static_cast<std::int64_t>(prompts.size());
  std::size_t longest = 0;
  for (const TokenIds& prompt : prompts) {
    if (prompt.empty()) fail_data("a prompt is empty", "there is nothing to continue", "remove it from the prompts");
    longest = std::max(longest, prompt.size());
  }
  const std::int64_t capacity = static_cast<std::int64_t>(longest) + options.max_new_tokens;
  model.check_length(capacity);
  KvCache cache(model.config(), num_prompts * N, capacity, model.device());

  const PackedBatch batch = PackedBatch::from(prompts, model.device());
  std::vector<std::int64_t> positions, last_rows;
  for (const TokenIds& prompt : prompts)
    for (std::size_t t = 0; t < prompt.size(); ++t) positions.push_back(static_cast<std::int64_t>(t));
  for (std::int64_t p = 0; p < num_prompts; ++p)
    for (std::int64_t k = 0; k < N; ++k) last_rows.push_back(batch.offsets[static_cast<std::size_t>(p) + 1] - 1);
  const at::Tensor prefilled =
      model.transform(batch.tokens, torch::tensor(positions, torch::kInt64).to(model.device()),
                      [&](std::int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                        for (std::int64_t p = 0; p < num_prompts; ++p) {
                          const std::int64_t first = batch.offsets[static_cast<std::size_t>(p)],
                                             last = batch.offsets[static_cast<std::size_t>(p) + 1];
                          cache.fill(layer, p * N, N, k.slice(0, first, last), v.slice(0, first, last));
                        }
                        return packed_attention(q, k, v, batch.offsets);
                      });

  std::vector<Growing> growing;
  for (std::int64_t p = 0; p < num_prompts; ++p)
    for (std::int64_t k = 0; k < N; ++k) {
      const auto index = static_cast<std::size_t>(p);
      growing.push_back({.sample = &samples[index][static_cast<std::size_t>(k)],
                         .random = RandomStream(options.seed, Purpose::kSampling, options.round,
                                                static_cast<std::uint64_t>(prompt_ids[index] * N + k)),
                         .length = static_cast<std::int64_t>(prompts[index].size())});
    }
  at::Tensor hidden = prefilled.index_select(0, torch::tensor(last_rows, torch::kInt64).to(model.device()));
  for (std::int64_t step = 0;; ++step) {
    draw(model.logits(hidden).to(torch::kCPU).contiguous(), options, growing);
    if (step + 1 == options.max_new_tokens) return;
    std::vector<std::int64_t> kept;
    for (std::size_t s = 0; s < growing.size(); ++s)
      if (!growing[s].sample->finished) kept.push_back(static_cast<std::int64_t>(s));
    if (kept.empty()) return;
    if (kept.size() < growing.size()) {
      cache.keep(torch::tensor(kept, torch::kInt64).to(model.device()));
      std::vector<Growing> rest;
      for (const std::int64_t s : kept) rest.push_back(growing[static_cast<std::size_t>(s)]);
      growing = std::move(rest);
    }
    std::vector<std::int64_t> tokens, lengths;
    for (const Growing& sequence : growing) {
      tokens.push_back(sequence.sample->tokens.back());
      lengths.push_back(sequence.length);
    }
    hidden = model.transform(torch::tensor(tokens, torch::kInt64).to(model.device()),
                             torch::tensor(lengths, torch::kInt64).to(model.device()),
                             [&](std::int64_t layer, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
                               return cache.attend(layer, q, k, v, lengths);
                             });
    for (Growing& sequence : growing) ++sequence.length;
  }
}

/// Units [first, last) of the prompts, into samples.
void generate_units(const Llama& model, const std::vector<TokenIds>& prompts,
                    const std::vector<std::int64_t>& prompt_ids, const GenerationOptions& options, std::int64_t unit,
                    std::vector<std::vector<Sample>>& samples) {
  const std::size_t first = static_cast<std::size_t>(unit * options.prompts_per_batch);
  const std::size_t last = std::min(prompts.size(), first + static_cast<std::size_t>(options.prompts_per_batch));
  std::vector<std::vector<Sample>> mine(last - first,
                                        std::vector<Sample>(static_cast<std::size_t>(options.num_samples)));
  generate_unit(
      model,
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
  const Llama fixed = model.for_inference();
  std::vector<std::vector<Sample>> samples(prompts.size());
  for (std::int64_t unit = 0; unit < num_units(prompts, options); ++unit)
    generate_units(fixed, prompts, prompt_ids, options, unit, samples);
  return samples;
}

std::vector<std::vector<Sample>> generate_over_ranks(const Llama& model, const std::vector<TokenIds>& prompts,
                                                     const std::vector<std::int64_t>& prompt_ids,
                                                     const GenerationOptions& options, const Communicator& data) {
  RLUF_ASSERT(prompts.size() == prompt_ids.size());
  torch::NoGradGuard no_grad;
  const Llama fixed = model.for_inference();
  std::vector<std::vector<Sample>> samples(prompts.size());
  const std::int64_t units = num_units(prompts, options), size = data.size(), rounds = (units + size - 1) / size;
  Progress progress("generation", "units", rounds);
  for (std::int64_t round = 0; round < rounds; ++round) {
    guarded(data, [&] {
      const std::int64_t unit = round * size + data.rank();
      if (unit < units) generate_units(fixed, prompts, prompt_ids, options, unit, samples);
    });
    progress.update(round + 1);
    if (stop_requested(data))
      throw Error(
          ExitCode::kStopped,
          "stopped by a signal while generating (finished stages are kept): run the same command again to continue");
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
