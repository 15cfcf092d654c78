// What auxiliary heads are asked for, how they start, what they predict, and the losses that they have in closed form.
#include "rluf/pipeline/reward/auxiliary.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/reward/losses.hpp"

namespace rluf {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// The message of the error with this code.
template <class Action>
std::string refused(ExitCode code, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Auxiliary, ReadsTargets) {
  const auto targets = parse_targets({"thumbs_up", "rating:ordinal:5", "turns:regression", "copy:binary"});
  ASSERT_EQ(targets.size(), 4u);
  EXPECT_EQ(targets[0].kind, TargetKind::kBinary);
  EXPECT_EQ(targets[0].num_thresholds(), 1);
  EXPECT_EQ(targets[1].name, "rating");
  EXPECT_EQ(targets[1].levels, 5);
  EXPECT_EQ(targets[1].num_thresholds(), 4);
  EXPECT_EQ(targets[2].kind, TargetKind::kRegression);
  EXPECT_EQ(targets[2].num_thresholds(), 0);
  EXPECT_EQ(targets[3].kind, TargetKind::kBinary);
}

TEST(Auxiliary, RefusesWhatItCannotRead) {
  for (const auto& [texts, part] :
       std::vector<std::pair<std::vector<std::string>, std::string>>{{{"rating:ordinal:2"}, "3 to 100 levels"},
                                                                     {{"rating:ordinal:"}, "no whole number"},
                                                                     {{"rating:ordinal:5x"}, "no whole number"},
                                                                     {{"rating:ordinal"}, "no kind of head"},
                                                                     {{"rating:linear"}, "no kind of head"},
                                                                     {{":regression"}, "names nothing"},
                                                                     {{"copy", "copy:regression"}, "copy twice"}})
    EXPECT_NE(refused(ExitCode::kBadInput, [&] { parse_targets(texts); }).find(part), std::string::npos) << texts[0];
}

TEST(Auxiliary, StartsFromTheSpreadOfItsLabels) {
  const AuxiliaryHead binary = head_of_spread(parse_targets({"copy"})[0], {0, 0, 1, kNone, 0});
  ASSERT_EQ(binary.thresholds.size(), 1u);
  EXPECT_NEAR(binary.predicted(0), 1.5 / 5, 1e-12);
  const AuxiliaryHead ordinal = head_of_spread(parse_targets({"rating:ordinal:4"})[0], {1, 1, 3, kNone, 4, 3, 3});
  ASSERT_EQ(ordinal.thresholds.size(), 3u);  // 2.5, 0.5, 3.5 and 1.5 of 8 rows
  EXPECT_NEAR(ordinal.thresholds[1], std::log(3.0 / 5.0), 1e-12);
  EXPECT_NEAR(ordinal.predicted(0), (2.5 + 2 * 0.5 + 3 * 3.5 + 4 * 1.5) / 8, 1e-12);
  EXPECT_NEAR(ordinal.predicted(50), 4, 1e-9);
  EXPECT_NEAR(ordinal.predicted(-50), 1, 1e-9);
  const AuxiliaryHead number = head_of_spread(parse_targets({"turns:regression"})[0], {2, kNone, 6});
  EXPECT_EQ(number.predicted(0), 4);
  EXPECT_EQ(number.predicted(-1), 2);
  for (const AuxiliaryHead& head : {binary, ordinal, number}) {
    const AuxiliaryHead again = AuxiliaryHead::from_json(head.to_json());
    EXPECT_EQ(again.predicted(0.7), head.predicted(0.7));
    EXPECT_EQ(again.target.kind, head.target.kind);
    EXPECT_EQ(again.target.name, head.target.name);
  }
}

TEST(Auxiliary, RefusesLabelsThatTeachNothing) {
  const auto part = [](const char* target, const std::vector<double>& values) {
    return refused(ExitCode::kBadData, [&] { head_of_spread(parse_targets({target})[0], values); });
  };
  EXPECT_NE(part("copy", {0, 0.5}).find("copy is 0.5"), std::string::npos);
  EXPECT_NE(part("rating:ordinal:5", {1, 2, 6}).find("levels are 1 to 5"), std::string::npos);
  EXPECT_NE(part("rating:ordinal:5", {0, 2, 3}).find("rating is 0"), std::string::npos);
  EXPECT_NE(part("rating:ordinal:5", {1, 2, 2, kNone}).find("2 different values"), std::string::npos);
  EXPECT_NE(part("copy", {1, 1, kNone}).find("1 different values"), std::string::npos);
  EXPECT_NE(part("turns:regression", {3, 3}).find("1 different values"), std::string::npos);
  EXPECT_NE(part("turns:regression", {kNone}).find("no training row"), std::string::npos);
}

TEST(Auxiliary, LossesInClosedForm) {
  const at::Tensor raw = at::tensor(std::vector<float>{0.3f, -1.2f, 40.f}),
                   levels = at::tensor(std::vector<std::int64_t>{1, 0, 0});
  const at::Tensor threshold = at::zeros({1});
  // Two levels are binary, far from the threshold too.
  EXPECT_NEAR(cumulative_logit_sum(raw, levels, threshold).item<double>(),
              binary_cross_entropy_sum(raw.unsqueeze(1), levels.to(at::kFloat)).item<double>(), 1e-5);
  // Three levels at log-odds -log 2 and log 2 have a third each.
  const at::Tensor thirds = at::tensor(std::vector<float>{-std::log(2.f), std::log(2.f)});
  EXPECT_NEAR(
      cumulative_logit_sum(at::zeros({3}), at::tensor(std::vector<std::int64_t>{0, 1, 2}), thirds).item<double>(),
      3 * std::log(3.0), 1e-6);
  const at::Tensor thresholds = rising_thresholds(thirds, at::tensor(std::vector<float>{0.5f, -3.f}));
  EXPECT_NEAR(thresholds[0].item<double>(), 0.5 - std::log(2.0), 1e-6);
  EXPECT_NEAR(thresholds[1].item<double>(), 0.5 - std::log(2.0) + 2 * std::log(2.0) * std::exp(-3.0), 1e-6);
  EXPECT_NEAR(squared_error_sum(raw, at::tensor(std::vector<float>{0.f, 0.f, 39.f})).item<double>(), 0.09 + 1.44 + 1,
              1e-5);
}

}  // namespace
}  // namespace rluf
