// Products of bfloat16 by the processor's instruction for pairs of them (AVX-512 BF16), summed in float32.
#include "rluf/core/error.hpp"
#include "rluf/kernels/linear.hpp"
#include "simd.hpp"

#if RLUF_BFLOAT16_PRODUCTS
#include <immintrin.h>
#pragma GCC target("arch=x86-64-v4,avx512bf16")
#endif
#include "linear_tile.hpp"

namespace rluf {

#if RLUF_BFLOAT16_PRODUCTS
namespace {

struct PairProducts {
  static constexpr std::int64_t kStep = 32;
  using Vector = __m512i;
  [[gnu::always_inline]] static void load(Vector& to, const std::uint16_t* from) { to = _mm512_loadu_si512(from); }
  [[gnu::always_inline]] static void load_end(Vector& to, const std::uint16_t* from, std::int64_t count) {
    to = _mm512_maskz_loadu_epi16((1u << count) - 1, from);
  }
  [[gnu::always_inline]] static void add_product(simd::Lanes& sum, const Vector& a, const Vector& b) {
    sum = (simd::Lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
};

}  // namespace

bool has_pair_products() {
  static const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  return has;
}

void pair_tile(const LinearRows<std::uint16_t>& rows, const std::uint16_t* weights, std::int64_t num_outputs,
               float* out) {
  linear_tile<PairProducts>(rows, weights, num_outputs, out);
}
#else
bool has_pair_products() { return false; }

void pair_tile(const LinearRows<std::uint16_t>&, const std::uint16_t*, std::int64_t, float*) {
  RLUF_ASSERT(!"this program was built without products of pairs");
}
#endif

}  // namespace rluf
