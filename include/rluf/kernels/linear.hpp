#pragma once
/// Products of rows with weight matrices on the host. For a few rows, as in decoding, they are bound by the memory from
/// which every weight is read once.
#include <cstdint>
#include <span>

namespace rluf {

/// A weight matrix as linear layers store it, one row an output. @shape [num_outputs, num_inputs] row by row
struct WeightMatrix {
  const void* data;
  bool is_bfloat16;  ///< else float32
  std::int64_t num_outputs;
};

enum class Store { kReplace, kAdd };

/// out[r] = (or +=) the products of x[r] with all matrices, side by side, summed in float32. For bfloat16 matrices x is
/// rounded to bfloat16 first, as in training.
/// @shape x [num_rows, num_inputs], out [num_rows, sum of num_outputs]
/// A row's result does not depend on the other rows, nor on the number of threads.
void linear_rows(std::span<const float> x, std::int64_t num_inputs, std::span<const WeightMatrix> weights,
                 std::span<float> out, Store store = Store::kReplace);

}  // namespace rluf
