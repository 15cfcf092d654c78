#include "rluf/pipeline/policy/term_loss.hpp"

#include <gtest/gtest.h>

#include "rluf/model/scoring.hpp"
#include "toy_policy.hpp"

namespace rluf {
namespace {

TEST(WeightedLoss, GradientEqualsFiniteDifferences) {
  const std::vector<Document> documents = {{{1, 2, 3, 4, 5, 23}, 3}, {{1, 6, 7, 23}, 2}, {{2, 2, 9, 9}, 1}};
  const std::vector<double> coefficients = {-0.73, -0.5, -0.11};
  Llama model(tiny_config(), 5, at::kCPU);
  model.set_trainable_layers(-1);
  const auto loss = weighted_log_prob_loss(documents, coefficients);
  const MicroLoss value = loss(model, {0, 1, 2});
  value.loss_sum.backward();
  // The same sum from log-probabilities of each document alone.
  const auto sums = response_log_probs(model, documents, 1, Communicator::self(), "test");
  EXPECT_NEAR(value.loss_sum.item<double>(), -0.73 * sums[0] - 0.5 * sums[1] - 0.11 * sums[2], 1e-4);
  for (const std::string name :
       {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"}) {
    at::Tensor weights = model.parameter(name).detach();  // shares its memory
    const at::Tensor gradient = model.parameter(name).grad();
    const at::Tensor direction = gradient / gradient.norm();
    const double step = 1e-2;
    weights.add_(direction, step);
    const double above = loss(model, {0, 1, 2}).loss_sum.item<double>();
    weights.sub_(direction, 2 * step);
    const double below = loss(model, {0, 1, 2}).loss_sum.item<double>();
    weights.add_(direction, step);
    const double wanted = gradient.norm().item<double>();
    EXPECT_NEAR((above - below) / (2 * step), wanted, 0.01 * wanted) << name;
  }
}

}  // namespace
}  // namespace rluf
