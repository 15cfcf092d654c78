#pragma once
/// Sums whose result does not depend on their order: float32 numbers are added as 64-bit integers.
#include <array>
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
/// Sum of squares of each row. @shape values [n * row length], sums [n]
void row_squares(std::span<const float> values, std::span<double> sums);
/// Numbers from 0 to `largest` (above 0) as two integers, whose sums over any parts in any order have the same bits; at
/// most 2^24 numbers in all. What is below largest * 2^-76 is lost.
std::array<std::int64_t, 2> wide_sum(std::span<const double> values, double largest);
double wide_value(const std::array<std::int64_t, 2>& sum, double largest);

}  // namespace rluf
