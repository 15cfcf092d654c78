#include "rluf/pipeline/policy/judges.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/policy/policy.hpp"

namespace rluf {
namespace {

Verdict ask(const std::string& judge, const JudgedResponse& response, JudgeOptions options = {}) {
  options.names = {judge};
  return judge_response(make_judges(options), response).verdicts.at(0);
}
JudgedResponse said(const std::string& text, bool finished = true) { return {nullptr, text, finished, 5, {}, {}}; }

TEST(Judges, WellFormed) {
  EXPECT_EQ(ask("well_formed", said("Fine.")), Verdict::kSatisfied);
  EXPECT_EQ(ask("well_formed", said("Fine.", false)), Verdict::kViolated);
  EXPECT_EQ(ask("well_formed", said("")), Verdict::kViolated);
  EXPECT_EQ(ask("well_formed", said(" \n\xC2\xA0")), Verdict::kViolated);
  EXPECT_EQ(ask("well_formed", said("cut \xF0\x9F")), Verdict::kViolated);
}

TEST(Judges, Length) {
  JudgeOptions options{.min_words = 2, .max_words = 3};
  EXPECT_EQ(ask("length", said("one"), options), Verdict::kViolated);
  EXPECT_EQ(ask("length", said("one two"), options), Verdict::kSatisfied);
  EXPECT_EQ(ask("length", said("one two three four"), options), Verdict::kViolated);
  EXPECT_EQ(ask("length", said("one two"), {.max_tokens = 4}), Verdict::kViolated) << "it has five tokens";
  EXPECT_EQ(ask("length", said(std::string(5'000'000, 'x')), options), Verdict::kViolated);
  options.max_words = 1;
  EXPECT_THROW(ask("length", said("one"), options), Error);
}

TEST(Judges, ForbiddenPhrases) {
  EXPECT_EQ(ask("forbidden_phrases", said("Bye! Sending Love!")), Verdict::kSatisfied)
      << "none are forbidden by default";
  const JudgeOptions options{.forbidden_phrases = "Sending love, \xD0\x9F\xD0\xBE\xD0\xBA\xD0\xB0"};
  EXPECT_EQ(ask("forbidden_phrases", said("bye!  SENDING\nlove!"), options), Verdict::kViolated);
  EXPECT_EQ(ask("forbidden_phrases", said("\xD0\xBF\xD0\xBE\xD0\xBA\xD0\xB0"), options), Verdict::kViolated);
  EXPECT_EQ(ask("forbidden_phrases", said("lovely sending"), options), Verdict::kSatisfied);
  EXPECT_EQ(ask("forbidden_phrases", said(""), options), Verdict::kSatisfied);
}

TEST(Judges, Repetition) {
  std::string looping, huge;
  for (int i = 0; i < 20; ++i) looping += "and then again ";
  for (int i = 0; i < 300000; ++i) huge += "word" + std::to_string(i) + " ";
  EXPECT_EQ(ask("repetition", said(looping)), Verdict::kViolated);
  EXPECT_EQ(ask("repetition", said("Every word here is said only once.")), Verdict::kSatisfied);
  EXPECT_EQ(ask("repetition", said(huge)), Verdict::kSatisfied);
  EXPECT_EQ(ask("repetition", said("")), Verdict::kSatisfied);
}

TEST(Judges, SafetyByThreshold) {
  JudgedResponse response = said("text");
  EXPECT_EQ(ask("safety", response), Verdict::kFailed) << "no safety model";
  response.safety_relative = 0.2;
  EXPECT_EQ(ask("safety", response), Verdict::kSatisfied);
  response.safety_relative = 0.19;
  EXPECT_EQ(ask("safety", response), Verdict::kViolated);
  response.safety_relative = std::nan("");
  EXPECT_EQ(ask("safety", response), Verdict::kFailed);
  response.safety_probability = 0.9;
  EXPECT_EQ(ask("safety", response, {.safety_measure = "probability", .safety_threshold = 0.8}), Verdict::kSatisfied);
  EXPECT_EQ(ask("safety", response, {.safety_measure = "probability", .safety_threshold = 0.95}), Verdict::kViolated);
}

class ThrowingJudge : public Judge {
 public:
  std::string name() const override { return "throwing"; }
  Verdict verdict(const JudgedResponse&) const override { throw std::runtime_error("cannot decide"); }
};

TEST(Judges, AFailureIsNeverSatisfied) {
  Judges judges;
  judges.push_back(std::make_unique<ThrowingJudge>());
  const JudgeOutcome outcome = judge_response(judges, said("x"));
  EXPECT_FALSE(outcome.satisfied);
  EXPECT_EQ(outcome.verdicts.at(0), Verdict::kFailed);
  EXPECT_TRUE(judge_response({}, said("")).satisfied) << "no judges, no constraint";
}

TEST(Judges, FactoryRefusesUnknownAndRepeatedNames) {
  EXPECT_THROW(make_judges({.names = {"lenght"}}), Error);
  EXPECT_THROW(make_judges({.names = {"length", "length"}}), Error);
  EXPECT_EQ(make_judges({}).size(), 5U);
}

TEST(PolicyName, HoldsTheWeight) {
  EXPECT_EQ(policy_name(0), "policy_w0.0");
  EXPECT_EQ(policy_name(0.1), "policy_w0.1");
  EXPECT_EQ(policy_name(1), "policy_w1.0");
  EXPECT_EQ(policy_name(0.25), "policy_w0.25");
}

}  // namespace
}  // namespace rluf
