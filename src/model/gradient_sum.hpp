#pragma once
#include "rluf/model/llama.hpp"
#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// The gradients of one step's micro-batches, added up over micro-batches and ranks.
class GradientSum {
 public:
  /// `reproducible`: in fixed point (kernels/fixed_point.hpp), the same bits whichever rank computed which micro-batch;
  /// otherwise in float32 in the order in which they come. @memory 8 bytes a trainable parameter if reproducible
  GradientSum(const Llama& model, std::int64_t num_micro_batches, bool reproducible);
  /// Takes what backward() of one micro-batch left in the parameters' grad.
  void add();
  /// Leaves the sum over all ranks in the parameters' grad; infinite if a term was, or was too large. @collective
  void reduce(const Communicator& data);

 private:
  std::vector<at::Tensor> parameters_;
  double largest_ = 0;
  at::Tensor sums_;  ///< int64 [parameters' elements, then the number of micro-batches that did not fit]
};

}  // namespace rluf
