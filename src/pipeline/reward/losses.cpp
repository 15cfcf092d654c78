#include "rluf/pipeline/reward/losses.hpp"

#include <torch/torch.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

at::Tensor mean_over_heads(const at::Tensor& loss_BH, const HeadWeights& weights) {
  return weights.defined() ? (loss_BH * weights).sum() / loss_BH.size(1) : loss_BH.sum();
}

}  // namespace

double head_copies(std::uint64_t seed, std::int64_t example, std::int64_t head) {
  RandomStream random(seed, Purpose::kSelection, 1 + static_cast<std::uint64_t>(head),
                      static_cast<std::uint64_t>(example));
  double copies = 0, chance = std::exp(-1.0);
  for (double left = random.uniform() - chance; left >= 0 && copies < 20; left -= chance) chance /= ++copies;
  return copies;
}

at::Tensor binary_cross_entropy_sum(const at::Tensor& raw_scores, const at::Tensor& labels, const HeadWeights& weights,
                                    double positive_weight) {
  const at::Tensor targets = labels.unsqueeze(1).expand_as(raw_scores);
  const at::Tensor factor = positive_weight == 1 ? at::Tensor() : at::full({1}, positive_weight, raw_scores.options());
  return mean_over_heads(at::binary_cross_entropy_with_logits(raw_scores, targets, {}, factor, at::Reduction::None),
                         weights);
}

at::Tensor bradley_terry_sum(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margins,
                             double centering, const HeadWeights& weights) {
  at::Tensor loss = -at::log_sigmoid(chosen - rejected - margins.unsqueeze(1));
  if (centering > 0) loss = loss + centering * (chosen + rejected).square();
  return mean_over_heads(loss, weights);
}

at::Tensor rising_thresholds(const at::Tensor& start, const at::Tensor& offsets) {
  const at::Tensor gaps = start.diff() * offsets.slice(0, 1).exp();
  return at::cat({start.slice(0, 0, 1) + offsets.slice(0, 0, 1), gaps}).cumsum(0);
}

at::Tensor cumulative_logit_sum(const at::Tensor& raw_scores, const at::Tensor& levels, const at::Tensor& thresholds) {
  // The lowest level has no lower end and the highest no upper one: a number that no score comes near stands for it.
  const at::Tensor far = at::full({1}, 1e6, thresholds.options()), ends = at::cat({-far, thresholds, far});
  const at::Tensor low = ends.index_select(0, levels), high = ends.index_select(0, levels + 1);
  // sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which does not cancel.
  return -(at::log_sigmoid(high - raw_scores) + at::log_sigmoid(raw_scores - low) + (-(low - high).expm1()).log())
              .sum();
}

at::Tensor squared_error_sum(const at::Tensor& raw_scores, const at::Tensor& targets) {
  return (raw_scores - targets).square().sum();
}

}  // namespace rluf
