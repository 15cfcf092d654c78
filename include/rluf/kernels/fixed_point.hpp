#pragma once
/// Sums whose result does not depend on their order: float32 numbers are added as 64-bit integers.
#include <cstdint>
#include <span>

namespace rluf {

/// Binary digits after the point. What is smaller than 2^-44 = 6e-14 is lost, which a gradient (of a mean loss, clipped
/// to a norm near 1, divided by AdamW's epsilon at the least) does not feel.
constexpr int kFixedPointBits = 44;
/// Largest magnitude of each of `num_terms` values that cannot overflow their sum.
double largest_term(std::int64_t num_terms);

/// sums[i] += values[i], cut towards zero. @shape values, sums [n]
/// @return whether all magnitudes were at most `largest`; if not (or NaN) the sums are of no use
bool add_fixed_point(std::span<const float> values, double largest, std::span<std::int64_t> sums);
/// values[i] = sums[i], rounded once. @shape sums, values [n]
void from_fixed_point(std::span<const std::int64_t> sums, std::span<float> values);
/// Sum of squares over fixed blocks that are added in order: the same bits with any number of threads.
double sum_of_squares(std::span<const float> values);

}  // namespace rluf
