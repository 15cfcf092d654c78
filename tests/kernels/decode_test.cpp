#include "rluf/kernels/decode.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

constexpr std::size_t kHeads = 6, kKvHeads = 2, kDim = 10, kRow = (kHeads + 2 * kKvHeads) * kDim;
constexpr DecodeShape kShape{
    .num_heads = kHeads, .num_kv_heads = kKvHeads, .head_dim = kDim, .prompt_capacity = 40, .own_capacity = 20};

std::vector<float> normals(std::size_t count, RandomStream& random) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

std::vector<float> rotated(const float* x, const float* cos, const float* sin) {
  std::vector<float> out(kDim);
  for (std::size_t i = 0; i < kDim; ++i)
    out[i] = x[i] * cos[i] + (i < kDim / 2 ? -x[i + kDim / 2] : x[i - kDim / 2]) * sin[i];
  return out;
}

/// Everything that a sequence has seen, the plain way: a list of keys and values a key/value head.
struct History {
  std::vector<std::vector<float>> keys[kKvHeads], values[kKvHeads];
  void add(std::size_t head, const std::vector<float>& key, const float* value) {
    keys[head].push_back(key);
    values[head].emplace_back(value, value + kDim);
  }
  std::vector<double> attend(std::size_t head, const std::vector<float>& query) const {
    std::vector<double> weights, out(kDim, 0.0);
    double sum = 0;
    for (const auto& key : keys[head]) {
      double product = 0;
      for (std::size_t i = 0; i < kDim; ++i) product += query[i] * key[i];
      weights.push_back(std::exp(product / std::sqrt(static_cast<double>(kDim))));
      sum += weights.back();
    }
    for (std::size_t t = 0; t < weights.size(); ++t)
      for (std::size_t i = 0; i < kDim; ++i) out[i] += weights[t] / sum * values[head][t][i];
    return out;
  }
};

/// Two prompts, one of which three sequences continue; one of them ends early.
class DecodeAttention : public testing::Test {
 protected:
  RandomStream random{3, Purpose::kSimulation};
  DecodeCache cache{kShape, 2, 6};
  std::vector<History> histories = std::vector<History>(6);
  std::vector<DecodeSequence> sequences{{0, 33, 0, 0}, {0, 33, 1, 0}, {0, 33, 2, 0}, {1, 3, 3, 0}};

  DecodeAttention() {
    for (std::int64_t prompt = 0; prompt < 2; ++prompt) {
      const std::size_t length = prompt == 0 ? 33 : 3;
      const auto keys = normals(length * kKvHeads * kDim, random), values = normals(length * kKvHeads * kDim, random);
      cache.set_prompt(prompt, keys, values);
      for (const DecodeSequence& sequence : sequences)
        for (std::size_t t = 0; sequence.prompt == prompt && t < length; ++t)
          for (std::size_t g = 0; g < kKvHeads; ++g) {
            const std::size_t at = (t * kKvHeads + g) * kDim;
            const std::vector<float> key(keys.begin() + static_cast<long>(at),
                                         keys.begin() + static_cast<long>(at + kDim));
            histories[static_cast<std::size_t>(sequence.slot)].add(g, key, values.data() + at);
          }
    }
  }

  void expect_row(std::size_t s, const std::vector<float>& qkv, const std::vector<float>& cos,
                  const std::vector<float>& sin, const std::vector<float>& out) {
    History& history = histories[static_cast<std::size_t>(sequences[s].slot)];
    const float *row = qkv.data() + s * kRow, *c = cos.data() + s * kDim, *w = sin.data() + s * kDim;
    for (std::size_t g = 0; g < kKvHeads; ++g)
      history.add(g, rotated(row + (kHeads + g) * kDim, c, w), row + (kHeads + kKvHeads + g) * kDim);
    for (std::size_t h = 0; h < kHeads; ++h) {
      const auto expected = history.attend(h / (kHeads / kKvHeads), rotated(row + h * kDim, c, w));
      for (std::size_t i = 0; i < kDim; ++i)
        EXPECT_NEAR(out[(s * kHeads + h) * kDim + i], expected[i], 2e-5) << s << " " << h << " " << i;
    }
  }
};

TEST_F(DecodeAttention, EqualsTheFormulaWhileSequencesGrowAndEnd) {
  for (int step = 0; step < 20; ++step) {
    if (step == 7) sequences.erase(sequences.begin() + 1);
    const std::size_t S = sequences.size();
    const auto qkv = normals(S * kRow, random), cos = normals(S * kDim, random), sin = normals(S * kDim, random);
    std::vector<float> out(S * kHeads * kDim);
    decode_attention(cache, sequences, cos, sin, qkv, out);
    for (std::size_t s = 0; s < S; ++s) expect_row(s, qkv, cos, sin, out);
    for (DecodeSequence& sequence : sequences) ++sequence.own_length;
  }
}

TEST_F(DecodeAttention, ASequenceDoesNotDependOnTheOthers) {
  const std::size_t S = sequences.size();
  const auto qkv = normals(S * kRow, random), cos = normals(S * kDim, random), sin = normals(S * kDim, random);
  std::vector<float> together(S * kHeads * kDim), alone(kHeads * kDim);
  decode_attention(cache, sequences, cos, sin, qkv, together);
  for (std::size_t s = 0; s < S; ++s) {
    decode_attention(cache, {&sequences[s], 1}, std::span(cos).subspan(s * kDim, kDim),
                     std::span(sin).subspan(s * kDim, kDim), std::span(qkv).subspan(s * kRow, kRow), alone);
    for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(alone[i], together[s * kHeads * kDim + i]);
  }
}

}  // namespace
}  // namespace rluf
