#pragma once
/// What stands between the products of a transformer layer, row by row on the host. Rows do not depend on each other.
#include <cstdint>
#include <span>

namespace rluf {

/// out = x / sqrt(mean(x^2) + epsilon) * weight of each row. @shape x, out [num_rows, D]; weight [D]
void rms_norm_rows(std::span<const float> x, std::span<const float> weight, double epsilon, std::span<float> out);

/// out = silu(gate) * up of each row. @shape gate_up [num_rows, 2 F], gate first; out [num_rows, F]
void swiglu_rows(std::span<const float> gate_up, std::int64_t num_rows, std::span<float> out);

}  // namespace rluf
