#include "rluf/kernels/sampling.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {
namespace {

struct Draw {
  std::int32_t token;
  float log_prob;
};
Draw draw(const std::vector<float>& logits, double uniform, const SamplingOptions& options) {
  std::int32_t token = -1;
  float log_prob = 0;
  sample_tokens(logits, static_cast<std::int64_t>(logits.size()), {&uniform, 1}, options, {&token, 1}, {&log_prob, 1});
  return {token, log_prob};
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  double sum = 0;
  std::vector<double> p;
  for (const float logit : logits) p.push_back(std::exp(logit / temperature));
  for (const double x : p) sum += x;
  for (double& x : p) x /= sum;
  return p;
}

TEST(SampleTokens, FollowsTheSoftmax) {
  const std::vector<float> logits{0.5f, -1.0f, 2.0f, 0.0f, 1.5f};
  for (const double temperature : {1.0, 0.7}) {
    const auto expected = softmax(logits, temperature);
    std::vector<double> counts(5, 0.0);
    const int n = 50000;
    RandomStream random(1, Purpose::kSampling);
    for (int i = 0; i < n; ++i)
      counts[static_cast<std::size_t>(draw(logits, random.uniform(), {.temperature = temperature}).token)] += 1;
    double chi_square = 0;
    for (std::size_t k = 0; k < 5; ++k) chi_square += std::pow(counts[k] - n * expected[k], 2) / (n * expected[k]);
    EXPECT_LT(chi_square, 23.5);  // 4 degrees of freedom, one in ten thousand
  }
}

TEST(SampleTokens, LogProbabilityIsOfTheUncutSoftmax) {
  const std::vector<float> logits{1.0f, 3.0f, 2.0f};
  const auto p = softmax(logits, 1.0);
  for (const SamplingOptions& options :
       {SamplingOptions{}, SamplingOptions{.temperature = 0}, SamplingOptions{.temperature = 0.5, .top_k = 2}}) {
    const Draw result = draw(logits, 0.3, options);
    EXPECT_NEAR(result.log_prob, std::log(p[static_cast<std::size_t>(result.token)]), 1e-6);
  }
}

TEST(SampleTokens, CutsAreExact) {
  const std::vector<float> logits{1.0f, 3.0f, 3.0f, 2.0f};
  RandomStream random(2, Purpose::kSampling);
  for (int i = 0; i < 300; ++i) {
    const double u = random.uniform();
    EXPECT_EQ(draw(logits, u, {.temperature = 0}).token, 1);  // a tie goes to the lower id
    EXPECT_EQ(draw(logits, u, {.top_k = 1}).token, 1);
    EXPECT_NE(draw(logits, u, {.top_k = 3}).token, 0);
    EXPECT_EQ(draw(logits, u, {.top_p = 1e-9}).token, 1);
    EXPECT_LE(draw(logits, u, {.top_p = 0.7}).token, 2);  // the two tops hold 0.77
    EXPECT_GE(draw(logits, u, {.top_p = 0.7}).token, 1);
    EXPECT_EQ(draw(logits, u, {}).token, draw(logits, u, {.top_k = 4}).token);  // both ways of drawing agree
  }
  EXPECT_EQ(draw(logits, 0.0, {}).token, 0);
  EXPECT_EQ(draw(logits, 0.9999999999, {}).token, 3);
}

TEST(SampleTokens, RowsAreIndependentAndBadLogitsAreNamed) {
  const std::vector<float> logits{0, 1, 2, 2, 1, 0};
  const std::vector<double> uniforms{0.2, 0.2};
  std::vector<std::int32_t> tokens(2);
  std::vector<float> log_probs(2);
  sample_tokens(logits, 3, uniforms, {}, tokens, log_probs);
  EXPECT_EQ(tokens[0], draw({0, 1, 2}, 0.2, {}).token);
  EXPECT_EQ(tokens[1], draw({2, 1, 0}, 0.2, {}).token);
  std::vector<float> bad = logits;
  bad[4] = std::numeric_limits<float>::quiet_NaN();
  try {
    sample_tokens(bad, 3, uniforms, {}, tokens, log_probs);
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("row 1"), std::string::npos);
  }
}

TEST(ChosenLogProbs, EqualsTheFormulaForExtremeLogits) {
  const std::vector<float> logits{1000.0f, 999.0f, -1000.0f, -5.0f, -5.0f, -5.0f};
  std::vector<float> out(2);
  chosen_log_probs(logits, 3, std::vector<std::int64_t>{1, 2}, out);
  EXPECT_NEAR(out[0], -1.0 - std::log1p(std::exp(-1.0)), 1e-5);
  EXPECT_NEAR(out[1], -std::log(3.0), 1e-6);
}

}  // namespace
}  // namespace rluf
