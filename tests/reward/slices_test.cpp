#include "rluf/pipeline/reward/slices.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "rluf/core/random.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Scores tell a lot early and nothing late, where positives are also three times as frequent as predicted.
struct DriftingRows {
  std::vector<double> logits, labels, tokens;
  std::vector<std::int64_t> users, timestamps;
  std::vector<ResponseFacts> facts;
  HeldOutRows rows() const { return {logits, labels, users, timestamps, tokens}; }

  explicit DriftingRows(bool drifts) {
    RandomStream random(8, Purpose::kSimulation);
    for (int i = 0; i < 4000; ++i) {
      const double logit = -2 + random.normal(), p = logistic(logit);
      const bool late = i >= 2000 && drifts;
      logits.push_back(logit);
      labels.push_back(random.uniform() < (late ? 0.45 : p) ? 1 : 0);
      users.push_back(static_cast<std::int64_t>(random.below(300)));
      timestamps.push_back(i);
      tokens.push_back(static_cast<double>(10 + random.below(100)));
      ResponseFacts fact{i % 3 == 0 ? "coding" : "chat", 1 + i % 5, {}};
      if (i % 10 == 0) fact.signals.emplace_back("copy");
      if (i % 20 == 0) fact.signals.emplace_back("share");
      facts.push_back(fact);
    }
  }
};

TEST(Slices, EveryRowStandsOnceInEachKind) {
  const DriftingRows data(false);
  std::map<std::string, std::size_t> counts;
  std::map<std::string, std::size_t> named;
  for (const Slice& slice : slices_of(data.rows(), data.facts)) {
    counts[slice.by] += slice.rows.size();
    named[slice.by + "/" + slice.name] = slice.rows.size();
  }
  for (const char* by : {"use_case", "position", "length", "time"}) EXPECT_EQ(counts[by], 4000u) << by;
  EXPECT_EQ(counts["signal"], 4000u + 200u);  // those with two signals stand twice
  EXPECT_EQ(named["signal/with share"], 200u);
  EXPECT_EQ(named["use_case/coding"], 1334u);
  EXPECT_EQ(named["position/first response"], 800u);
  EXPECT_EQ(named["time/quarter 4"], 1000u);
}

TEST(Slices, ManyUseCasesLeaveNoRowOut) {
  DriftingRows data(false);
  for (std::size_t i = 0; i < data.facts.size(); ++i) data.facts[i].use_case = "case " + std::to_string(i % 40);
  std::size_t slices = 0, rows = 0;
  for (const Slice& slice : slices_of(data.rows(), data.facts))
    if (slice.by == "use_case") {
      ++slices;
      rows += slice.rows.size();
    }
  EXPECT_EQ(slices, 13u);
  EXPECT_EQ(rows, 4000u);
}

TEST(Slices, FewPositivesHaveNoInterval) {
  const HeldOutRows rows{{-1, 0, 1, 2}, {0, 0, 1, 0}, {1, 2, 3, 4}, {1, 2, 3, 4}, {5, 5, 5, 5}};
  const Json row = slice_row(rows, {"time", "all", {0, 1, 2, 3}}, {60, 1});
  EXPECT_NEAR(row.at("auroc").at("value").get<double>(), 2.0 / 3, 1e-12);
  for (const char* name : {"auroc", "ece", "observed_to_expected"}) {
    EXPECT_FALSE(row.at(name).contains("low")) << name;
    EXPECT_EQ(row.at(name).at("reason"), "fewer than 5 positives");
  }
  const Json none = slice_row(rows, {"time", "early", {0, 1}}, {60, 1});
  EXPECT_TRUE(none.at("auroc").at("value").is_null());
  EXPECT_EQ(none.at("observed_to_expected").at("value"), 0);
}

TEST(Slices, FiguresOfASliceAreThoseOfItsRows) {
  const DriftingRows data(true);
  for (const Slice& slice : slices_of(data.rows(), data.facts)) {
    const Json row = slice_row(data.rows(), slice, {60, 1});
    if (row.at("by") != "time") continue;
    const bool late = row.at("slice") == "quarter 3" || row.at("slice") == "quarter 4";
    const Json& ratio = row.at("observed_to_expected");
    if (late) {
      EXPECT_GT(ratio.at("low").get<double>(), 1.5);
      EXPECT_GT(row.at("auroc").at("high").get<double>(), 0.45);
      EXPECT_LT(row.at("auroc").at("high").get<double>(), 0.6);
    } else {
      EXPECT_NEAR(ratio.at("value").get<double>(), 1, 0.2);
      EXPECT_GT(row.at("auroc").at("low").get<double>(), 0.6);
    }
    EXPECT_EQ(row.at("examples").get<int>(), 1000);
    double in_bins = 0;
    for (const Json& bin : row.at("reliability")) in_bins += bin.at("count").get<double>();
    EXPECT_EQ(in_bins, 1000);
  }
}

TEST(Drift, IsFoundWhereItIsAndOnlyThere) {
  const DriftingRows drifting(true), steady(false);
  const Json found = drift(drifting.rows(), {200, 1}), none = drift(steady.rows(), {200, 1});
  EXPECT_LT(found.at("auroc_change").at("high").get<double>(), 0);
  EXPECT_GT(found.at("log_observed_to_expected_change").at("low").get<double>(), 0.5);
  for (const char* change : {"auroc_change", "log_observed_to_expected_change"}) {
    EXPECT_LT(none.at(change).at("low").get<double>(), 0) << change;
    EXPECT_GT(none.at(change).at("high").get<double>(), 0) << change;
  }
}

}  // namespace
}  // namespace rluf
