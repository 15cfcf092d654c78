#include "rluf/pipeline/reward/losses.hpp"

#include <torch/torch.h>

namespace rluf {

at::Tensor binary_cross_entropy_sum(const at::Tensor& raw_scores, const at::Tensor& labels) {
  return at::binary_cross_entropy_with_logits(raw_scores, labels, {}, {}, at::Reduction::Sum);
}

at::Tensor bradley_terry_sum(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margins,
                             double centering) {
  at::Tensor loss = -at::log_sigmoid(chosen - rejected - margins).sum();
  if (centering > 0) loss = loss + centering * (chosen + rejected).square().sum();
  return loss;
}

}  // namespace rluf
