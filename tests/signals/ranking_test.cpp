#include "rluf/pipeline/signals/ranking.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace rluf {
namespace {

/// A signal that passes everything.
SignalEvidence good(const std::string& name, double low = 1.5) {
  SignalEvidence one{.name = name};
  one.available.events = 500;
  one.available.responses = 10000;
  one.available.needed_events = 200;
  one.available.user_share = {0.1, 0.09, 0.11};
  one.tie.users.odds_ratio = {low + 0.5, low, low + 1};
  one.tie.within_user = {0, -0.1, 0.1};
  one.unambiguous.opposite.with = {0.02, 0.01, 0.03};
  one.unambiguous.opposite.without = {0.2, 0.19, 0.21};
  return one;
}

Recommendation recommended(const std::vector<SignalEvidence>& evidence) {
  const SignalOptions options;
  return recommend(rank_signals(evidence, options), evidence);
}

TEST(Ranking, ScoreIsTheStatedProduct) {
  SignalEvidence one = good("love", 3);
  one.available.events = 100;
  one.unambiguous.reactor_events = 20;
  one.unambiguous.drift.relative = 0.25;
  const Judgement judgement = judge(one, {});
  EXPECT_NEAR(judgement.available.score, 0.5, 1e-12);
  EXPECT_NEAR(judgement.tied.score, 0.5, 1e-12);
  EXPECT_NEAR(judgement.unambiguous.score, 0.9 * 0.8 / 1.25, 1e-12);
  EXPECT_NEAR(judgement.score, 0.25 * 0.9 * 0.8 / 1.25, 1e-12);
  EXPECT_EQ(judgement.available.finding, Finding::kFailed);
  EXPECT_EQ(judgement.failed, 1);
}

TEST(Ranking, TheStrongerTieWinsAmongThoseThatPass) {
  const Recommendation choice = recommended({good("a", 1.2), good("b", 2.0), good("c", 1.4)});
  EXPECT_EQ(choice.signal, "b");
  EXPECT_FALSE(choice.has_reservation);
  EXPECT_NE(choice.reason.find("Next is c"), std::string::npos) << choice.reason;
}

TEST(Ranking, FailedCriteriaComeBeforeTheScore) {
  SignalEvidence contradicted = good("a", 5);
  contradicted.unambiguous.opposite.with.value = 0.15;
  EXPECT_EQ(recommended({contradicted, good("b")}).signal, "b");
  const Recommendation alone = recommended({contradicted});
  EXPECT_EQ(alone.signal, "a");
  EXPECT_TRUE(alone.has_reservation);
  EXPECT_NE(alone.reason.find("not unambiguous"), std::string::npos);
}

TEST(Ranking, WhatGoesAgainstSatisfactionIsNeverRecommended) {
  SignalEvidence untied = good("a", 0.9), spoiled = good("b");
  spoiled.tie.within_user = {-0.1, -0.15, -0.05};
  EXPECT_EQ(recommended({untied}).signal, "");
  EXPECT_EQ(judge(spoiled, {}).tied.finding, Finding::kFailed);
  SignalEvidence contrary = good("c");
  contrary.unambiguous.opposite.with.value = 0.3;  // more often with it than without
  EXPECT_EQ(recommended({contrary}).signal, "");
}

TEST(Ranking, LabelsMustSayGoodAndStandInEveryRow) {
  SignalEvidence negative = good("a"), derived = good("b"), partial = good("c");
  negative.is_negative = true;
  derived.is_logged = false;
  partial.is_everywhere = false;
  EXPECT_EQ(recommended({negative, derived, partial}).signal, "");
  const Recommendation choice = recommended({good("z", 1.1), derived});
  EXPECT_EQ(choice.signal, "z");
  EXPECT_NE(choice.reason.find("b ranks before it, but is derived"), std::string::npos) << choice.reason;
}

TEST(Ranking, WhatCannotBeJudgedIsSaidAndNotHeldAgainstIt) {
  SignalEvidence one = good("a");
  one.tie.missing = "no row says whether the user was retained";
  one.unambiguous.missing = "the log holds no signal of the other kind";
  const Judgement judgement = judge(one, {});
  EXPECT_EQ(judgement.tied.finding, Finding::kMissing);
  EXPECT_EQ(judgement.unambiguous.finding, Finding::kMissing);
  const Recommendation choice = recommended({one});
  EXPECT_EQ(choice.signal, "a");
  EXPECT_NE(choice.reason.find("Not judged"), std::string::npos);
  one.unambiguous.drift.relative = 3;
  EXPECT_EQ(judge(one, {}).unambiguous.finding, Finding::kFailed) << "what can be judged still counts";
}

TEST(Ranking, NeverAndAlwaysAreNotAvailable) {
  SignalEvidence never = good("a"), always = good("b");
  never.available.events = 0;
  always.available.needed_events = std::numeric_limits<double>::infinity();
  EXPECT_EQ(judge(never, {}).failed, 3);
  EXPECT_EQ(judge(always, {}).available.finding, Finding::kFailed);
  EXPECT_EQ(recommended({never, always}).signal, "");
}

}  // namespace
}  // namespace rluf
