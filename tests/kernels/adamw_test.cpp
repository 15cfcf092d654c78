#include "rluf/kernels/adamw.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

struct State {
  std::vector<float> weights, gradients, first, second;
};

State made(std::size_t n) {
  RandomStream random(5, Purpose::kSimulation);
  State state;
  for (std::size_t i = 0; i < n; ++i) {
    state.weights.push_back(static_cast<float>(random.normal()));
    state.gradients.push_back(static_cast<float>(random.normal() * std::pow(10.0, -static_cast<double>(i % 9))));
  }
  state.first.assign(n, 0.0f);
  state.second.assign(n, 0.0f);
  return state;
}

AdamWRates rates_of(std::int64_t step) { return {1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.7}; }

/// Five steps on the elements [cuts[k], cuts[k + 1]) one part after another.
std::vector<float> updated(State state, const std::vector<std::size_t>& cuts) {
  for (std::int64_t step = 1; step <= 5; ++step)
    for (std::size_t k = 0; k + 1 < cuts.size(); ++k) {
      const std::size_t first = cuts[k], count = cuts[k + 1] - first;
      adamw_update(std::span(state.weights).subspan(first, count), std::span(state.gradients).subspan(first, count),
                   std::span(state.first).subspan(first, count), std::span(state.second).subspan(first, count),
                   rates_of(step));
    }
  return state.weights;
}

TEST(AdamWUpdate, FollowsTheFormula) {
  const State state = made(2000);
  const auto found = updated(state, {0, 2000});
  for (std::size_t i = 0; i < found.size(); ++i) {
    double weight = state.weights[i], m = 0, v = 0;
    const double gradient = state.gradients[i] * 0.7;
    for (int step = 1; step <= 5; ++step) {
      m = 0.9 * m + 0.1 * gradient;
      v = 0.95 * v + 0.05 * gradient * gradient;
      weight -= 1e-2 * 0.1 * weight;
      weight -= 1e-2 * (m / (1 - std::pow(0.9, step))) / (std::sqrt(v / (1 - std::pow(0.95, step))) + 1e-8);
    }
    ASSERT_NEAR(found[i], weight, 2e-6) << i;
  }
}

TEST(AdamWUpdate, AnyShardsGiveTheSameBits) {
  const State state = made(40001);
  const auto whole = updated(state, {0, 40001});
  EXPECT_EQ(updated(state, {0, 20001, 40001}), whole);
  EXPECT_EQ(updated(state, {0, 13334, 26668, 40001}), whole);
  EXPECT_EQ(updated(state, {0, 1, 3, 8, 21, 40000, 40001}), whole);
  std::vector<std::size_t> single;
  for (std::size_t i = 0; i <= 40001; ++i) single.push_back(i);
  EXPECT_EQ(updated(state, single), whole);
}

}  // namespace
}  // namespace rluf
