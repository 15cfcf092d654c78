#include "rluf/pipeline/evaluation/gate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rluf/core/error.hpp"
#include "rluf/core/random.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;

/// A baseline and a candidate whose mean P[Love] is `ratio` times as large and whose responses end in `ending`.
struct Case {
  CandidateSet set;
  std::vector<ScoredCandidate> scored;
  explicit Case(double ratio, const std::string& ending = "", int prompts = 300) {
    RandomStream random(4, Purpose::kSimulation);
    set.candidates = {{.name = "now"}, {.name = "next"}};
    scored.resize(2);
    for (int i = 0; i < prompts; ++i) {
      const double p = 0.004 + 0.002 * random.uniform();
      const std::string text = "answer " + std::to_string(i % 9);
      set.candidates[0].responses.push_back(text);
      set.candidates[1].responses.push_back(text + ending);
      scored[0].probabilities.push_back(p);
      scored[1].probabilities.push_back(ratio * p * (0.9 + 0.2 * random.uniform()));
      scored[0].raw_scores.push_back(0);
      scored[1].raw_scores.push_back(ratio > 1 ? 1 : -1);
    }
  }
  nlohmann::json row() const { return gate_table(set, scored, 0, {}, {})["candidates"][0]; }
};

TEST(Gate, PassesWhatKeepsLove) {
  EXPECT_TRUE(Case(1.1).row()["passes"].get<bool>()) << Case(1.1).row();
  EXPECT_TRUE(Case(0.98).row()["passes"].get<bool>()) << "a loss within the margin";
  const auto worse = Case(0.9).row();
  EXPECT_FALSE(worse["passes"].get<bool>());
  EXPECT_THAT(worse["reason"], HasSubstr("a loss of love is not ruled out"));
  EXPECT_THAT(Case(1.1, "", 10).row()["reason"], HasSubstr("too few"));
}

TEST(Gate, DoesNotPassWhatIsGamed) {
  const auto row = Case(1.3, ". Bye! Sending Love!").row();
  EXPECT_FALSE(row["passes"].get<bool>());
  EXPECT_THAT(row["reason"], HasSubstr("alarm: the phrase"));
  EXPECT_THAT(row["reason"], HasSubstr("bye sending love"));
}

TEST(Gate, IsAnErrorOnlyIfItIsShut) {
  const Case bad(0.8), good(1.1);
  const auto table = gate_table(bad.set, bad.scored, 0, {}, {});
  EXPECT_NO_THROW(apply_gates({table}, false));
  EXPECT_NO_THROW(apply_gates({gate_table(good.set, good.scored, 0, {}, {})}, true));
  try {
    apply_gates({table}, true);
    ADD_FAILURE() << "the gate is open";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kAlarm);
    EXPECT_THAT(error.what(), HasSubstr("the gate is shut for next: a loss of love"));
  }
}

TEST(Gate, NeedsItsBaseline) {
  const Case any(1);
  EvaluationOptions options;
  EXPECT_FALSE(position_of_baseline(any.set, options));
  options.baseline = "next";
  EXPECT_EQ(position_of_baseline(any.set, options), 1u);
  options.baseline = "nobody";
  EXPECT_THROW(position_of_baseline(any.set, options), Error);
  options = {};
  options.gate = true;
  EXPECT_THROW(position_of_baseline(any.set, options), Error);
}

}  // namespace
}  // namespace rluf
