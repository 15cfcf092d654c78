#pragma once
/// Vectors of 16 floats for the host kernels. A function marked RLUF_SIMD is compiled for AVX-512, for AVX2 and for the
/// plain instruction set, and the program takes the best that the processor has; elsewhere the compiler splits vectors.
#include <bit>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define RLUF_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define RLUF_BFLOAT16_PRODUCTS 1
#else
#define RLUF_SIMD
#define RLUF_BFLOAT16_PRODUCTS 0
#endif

namespace rluf::simd {

constexpr std::int64_t kLanes = 16;
using Lanes = float __attribute__((vector_size(64)));
using Lanes8 = float __attribute__((vector_size(32)));
using Lanes4 = float __attribute__((vector_size(16)));
using Bits = std::uint32_t __attribute__((vector_size(64)));
using HalfBits = std::uint16_t __attribute__((vector_size(32)));

// Vectors travel by reference: passing them by value would depend on the instruction set.
[[gnu::always_inline]] inline void load(Lanes& to, const float* from) { std::memcpy(&to, from, sizeof to); }
/// bfloat16 is the upper half of a float.
[[gnu::always_inline]] inline void load(Lanes& to, const std::uint16_t* from) {
  HalfBits half;
  std::memcpy(&half, from, sizeof half);
  to = (Lanes)(__builtin_convertvector(half, Bits) << 16);
}
[[gnu::always_inline]] inline void store(const Lanes& from, float* to) { std::memcpy(to, &from, sizeof from); }
/// The same for the end of a row, where fewer than kLanes floats may be left; the other lanes keep what they hold.
[[gnu::always_inline]] inline void load(Lanes& to, const float* from, std::int64_t count) {
  if (count >= kLanes) return load(to, from);
  std::memcpy(&to, from, static_cast<std::size_t>(count) * sizeof(float));
}
[[gnu::always_inline]] inline void store(const Lanes& from, float* to, std::int64_t count) {
  if (count >= kLanes) return store(from, to);
  std::memcpy(to, &from, static_cast<std::size_t>(count) * sizeof(float));
}
[[gnu::always_inline]] inline float widen(float value) { return value; }
[[gnu::always_inline]] inline float widen(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

[[gnu::always_inline]] inline void fold(const Lanes& lanes, Lanes4& four) {
  const Lanes8 eight = __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15);
  four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
}
/// The sum of the lanes, always in the same order.
[[gnu::always_inline]] inline float sum(const Lanes& lanes) {
  Lanes4 four;
  fold(lanes, four);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
/// The same of four vectors at once.
[[gnu::always_inline]] inline void sum(const Lanes& a, const Lanes& b, const Lanes& c, const Lanes& d, Lanes4& sums) {
  Lanes4 fa, fb, fc, fd;
  fold(a, fa);
  fold(b, fb);
  fold(c, fc);
  fold(d, fd);
  const Lanes4 ab = __builtin_shufflevector(fa, fb, 0, 1, 4, 5) + __builtin_shufflevector(fa, fb, 2, 3, 6, 7);
  const Lanes4 cd = __builtin_shufflevector(fc, fd, 0, 1, 4, 5) + __builtin_shufflevector(fc, fd, 2, 3, 6, 7);
  sums = __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

/// To bfloat16, to the nearest, ties to even. @unit out: upper halves of floats
[[gnu::always_inline]] inline void narrow(const Lanes& x, HalfBits& out) {
  const Bits bits = (Bits)x;
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out = __builtin_convertvector(x == x ? rounded : Bits{} + 0x7fc0u, HalfBits);
}

/// exp of each lane, to a few units in the last place; below -87 it is 0, NaN and infinity stay what they are.
[[gnu::always_inline]] inline void exponential(Lanes& x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Lanes limited = x < -87.0f ? Lanes{} - 87.0f : x > 89.0f ? Lanes{} + 89.0f : x;
  const Lanes shifted = limited * 1.44269504f + kRound;
  const Lanes integer = shifted - kRound;
  const Lanes rest = (limited - integer * 0.693359375f) + integer * 2.12194440e-4f;  // ln 2 in two parts
  // Taylor's series: |rest| <= ln 2 / 2, so the first term left out is below 6e-9.
  Lanes sum = Lanes{} + 1.0f / 5040;
  for (const float coefficient : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    sum = sum * rest + coefficient;
  const Bits exponent = ((Bits)shifted - std::bit_cast<std::uint32_t>(kRound) + 126u) << 23;
  const Lanes power = (Lanes)exponent;  // 2^(n - 1), which is finite also where 2^n is not
  x = x < -87.0f ? Lanes{} : sum * power * 2.0f;
}

}  // namespace rluf::simd
