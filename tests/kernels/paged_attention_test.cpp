#include "rluf/kernels/paged_attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

constexpr std::size_t kHeads = 6, kKvHeads = 2, kDim = 10, kRow = (kHeads + 2 * kKvHeads) * kDim;
constexpr CacheShape kShape{.num_heads = kHeads, .num_kv_heads = kKvHeads, .head_dim = kDim};
constexpr std::int64_t kNumBlocks = 40;

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

/// A sequence with all its inputs, the plain way: a list of tokens. `blocks` may be shared with other sequences.
struct Sequence {
  std::vector<float> qkv, cos, sin;  ///< of every token
  std::vector<std::int32_t> blocks;
  std::size_t length() const { return cos.size() / kDim; }

  void add(const std::vector<float>& new_qkv, const std::vector<float>& new_cos, const std::vector<float>& new_sin) {
    qkv.insert(qkv.end(), new_qkv.begin(), new_qkv.end());
    cos.insert(cos.end(), new_cos.begin(), new_cos.end());
    sin.insert(sin.end(), new_sin.begin(), new_sin.end());
  }
  std::vector<float> head(std::size_t token, std::size_t number) const {
    return rotated(qkv.data() + token * kRow + number * kDim, cos.data() + token * kDim, sin.data() + token * kDim);
  }
  /// What the formula gives for one token and head, in double precision.
  std::vector<double> attend(std::size_t token, std::size_t h) const {
    const std::size_t g = h / (kHeads / kKvHeads);
    std::vector<double> out(kDim, 0.0);
    double sum = 0;
    const auto query = head(token, h);
    for (std::size_t t = 0; t <= token; ++t) {
      const auto key = head(t, kHeads + g);
      double product = 0;
      for (std::size_t i = 0; i < kDim; ++i) product += static_cast<double>(query[i]) * key[i];
      const double weight = std::exp(product / std::sqrt(static_cast<double>(kDim)));
      sum += weight;
      for (std::size_t i = 0; i < kDim; ++i) out[i] += weight * qkv[t * kRow + (kHeads + kKvHeads + g) * kDim + i];
    }
    for (double& value : out) value /= sum;
    return out;
  }
};

/// Tokens [first, last) of some sequences in one call, row after row. @return out [rows, kHeads * kDim]
struct Part {
  const Sequence* sequence;
  std::size_t first, last;
};
std::vector<float> call(PagedCache& cache, const std::vector<Part>& parts) {
  std::vector<AttentionRow> rows;
  std::vector<float> qkv, cos, sin;
  for (const auto& [sequence, first, last] : parts)
    for (std::size_t t = first; t < last; ++t) {
      rows.push_back({sequence->blocks.data(), static_cast<std::int64_t>(t)});
      qkv.insert(qkv.end(), sequence->qkv.begin() + static_cast<long>(t * kRow),
                 sequence->qkv.begin() + static_cast<long>((t + 1) * kRow));
      cos.insert(cos.end(), sequence->cos.begin() + static_cast<long>(t * kDim),
                 sequence->cos.begin() + static_cast<long>((t + 1) * kDim));
      sin.insert(sin.end(), sequence->sin.begin() + static_cast<long>(t * kDim),
                 sequence->sin.begin() + static_cast<long>((t + 1) * kDim));
    }
  std::vector<float> out(rows.size() * kHeads * kDim);
  paged_attention(cache, rows, cos, sin, qkv, out);
  return out;
}

class PagedAttention : public testing::Test {
 protected:
  RandomStream random{3, Purpose::kSimulation};
  PagedCache cache{kShape, kNumBlocks};

  /// Blocks in no order of any use.
  std::vector<std::int32_t> some_blocks(std::int64_t first, std::size_t length) {
    std::vector<std::int32_t> blocks;
    for (std::size_t b = 0; b < (length + 15) / 16; ++b)
      blocks.push_back(static_cast<std::int32_t>((first + 7 * static_cast<std::int64_t>(b)) % kNumBlocks));
    return blocks;
  }
  Sequence sequence(std::size_t length, std::int64_t first_block) {
    Sequence made;
    made.add(normals(length * kRow, random), normals(length * kDim, random), normals(length * kDim, random));
    made.blocks = some_blocks(first_block, length);
    return made;
  }
};

TEST_F(PagedAttention, EqualsTheFormulaForPromptsAndTokensInOneCall) {
  const std::vector<Sequence> sequences{sequence(70, 0), sequence(33, 1), sequence(3, 2), sequence(16, 3)};
  call(cache, {{&sequences[0], 0, 69}, {&sequences[2], 0, 2}});
  const std::vector<Part> parts{
      {&sequences[0], 69, 70}, {&sequences[1], 0, 33}, {&sequences[2], 2, 3}, {&sequences[3], 0, 16}};
  const std::vector<float> out = call(cache, parts);
  std::size_t row = 0;
  for (const auto& [part, first, last] : parts)
    for (std::size_t t = first; t < last; ++t, ++row)
      for (std::size_t h = 0; h < kHeads; ++h) {
        const auto expected = part->attend(t, h);
        for (std::size_t i = 0; i < kDim; ++i)
          EXPECT_NEAR(out[(row * kHeads + h) * kDim + i], expected[i], 2e-5) << row << " " << h << " " << i;
      }
}

TEST_F(PagedAttention, ChunksChangeNoBit) {
  const Sequence prompt = sequence(70, 0);
  const std::vector<float> whole = call(cache, {{&prompt, 0, 70}});
  for (const std::size_t chunk : {1u, 7u, 16u, 33u}) {
    PagedCache other(kShape, kNumBlocks);
    std::vector<float> pieces;
    for (std::size_t first = 0; first < 70; first += chunk) {
      const auto piece = call(other, {{&prompt, first, std::min<std::size_t>(70, first + chunk)}});
      pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(pieces, whole) << chunk;
  }
}

/// Three sequences continue one prompt of two and a half blocks, each with a copy of the last one.
TEST_F(PagedAttention, SharedAndCopiedBlocksGiveTheBitsOfASequenceOfItsOwn) {
  const Sequence prompt = sequence(40, 0);
  std::vector<Sequence> samples(3, prompt);
  std::vector<float> expected;
  for (std::size_t s = 0; s < samples.size(); ++s) {
    samples[s].add(normals(20 * kRow, random), normals(20 * kDim, random), normals(20 * kDim, random));
    samples[s].blocks = some_blocks(0, 60);
    PagedCache own(kShape, kNumBlocks);
    const auto out = call(own, {{&samples[s], 0, 60}});
    expected.insert(expected.end(), out.begin() + 40 * kHeads * kDim, out.end());
  }
  call(cache, {{&prompt, 0, 40}});
  for (std::size_t s = 1; s < samples.size(); ++s)
    for (std::size_t b = 2; b < 4; ++b) {
      const auto mine = static_cast<std::int32_t>(30 + 2 * s + b);
      if (b == 2) cache.copy_block(samples[s].blocks[b], mine);
      samples[s].blocks[b] = mine;
    }
  std::vector<float> together(expected.size());
  for (std::size_t t = 40; t < 60; ++t) {
    const auto out = call(cache, {{&samples[0], t, t + 1}, {&samples[1], t, t + 1}, {&samples[2], t, t + 1}});
    constexpr std::size_t kOut = kHeads * kDim;
    for (std::size_t s = 0; s < 3; ++s)
      std::copy_n(out.begin() + static_cast<long>(s * kOut), kOut,
                  together.begin() + static_cast<long>((s * 20 + t - 40) * kOut));
  }
  EXPECT_EQ(together, expected);
}

}  // namespace
}  // namespace rluf
