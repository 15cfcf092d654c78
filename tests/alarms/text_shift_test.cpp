#include "rluf/pipeline/alarms/text_shift.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rluf/core/random.hpp"

namespace rluf {
namespace {

TEST(ExchangeTest, IsMcNemarsForOneResponseEach) {
  std::vector<PropertyCount> prompts(5, {1, 0, 1, 1});  // only the policy
  prompts.push_back({1, 1, 1, 0});                      // only the reference
  for (int i = 0; i < 9; ++i) prompts.push_back({1, 1, 1, 1});
  EXPECT_NEAR(exchange_test(prompts), 7.0 / 64, 1e-12) << "P(5 or 6 heads of 6)";
  EXPECT_NEAR(smallest_exchange_p(prompts), 1.0 / 64, 1e-12);
  EXPECT_DOUBLE_EQ(exchange_test({}), 1.0);
}

TEST(ExchangeTest, CountsAllWaysToDealOutTheProperty) {
  const std::vector<PropertyCount> prompts{{1, 0, 4, 2}, {2, 1, 3, 2}, {3, 0, 2, 1}};
  // Every choice of which responses have the property, each prompt's equally likely.
  double all = 0, tail = 0;
  for (unsigned a = 0; a < 32; ++a)
    for (unsigned b = 0; b < 32; ++b)
      for (unsigned c = 0; c < 32; ++c) {
        if (std::popcount(a) != 2 || std::popcount(b) != 3 || std::popcount(c) != 1) continue;
        all += 1;
        const int after = std::popcount(a & 0b1111U) + std::popcount(b & 0b111U) + std::popcount(c & 0b11U);
        tail += after >= 5 ? 1 : 0;
      }
  EXPECT_NEAR(exchange_test(prompts), tail / all, 1e-12);
}

TEST(Tarone, IgnoresTestsThatCannotBeSignificant) {
  const std::vector<double> smallest{0.001, 0.2, 0.3, 0.4};
  EXPECT_DOUBLE_EQ(tarone_level(smallest, 0.05), 0.05) << "only one test could be significant at all";
  EXPECT_DOUBLE_EQ(tarone_level(std::vector<double>{0.001, 0.001, 0.02, 0.5}, 0.05), 0.05 / 3)
      << "three could be at 0.05 / 1 and at 0.05 / 2, two at 0.05 / 3";
  EXPECT_DOUBLE_EQ(tarone_level({}, 0.05), 0.05);
}

/// A text of common words, now and then with `ending`.
std::string text_of(RandomStream& random, double ending_rate, const std::string& ending) {
  static const std::vector<std::string> words{"the", "a", "cake", "needs", "oven", "and", "time", "mix", "hot", "it"};
  std::string text;
  const std::uint64_t count = 4 + random.below(8);
  for (std::uint64_t i = 0; i < count; ++i) text += (i > 0 ? " " : "") + words[random.below(words.size())];
  text += ".";
  if (random.uniform() < ending_rate) text += " " + ending;
  return text;
}

std::vector<PromptTexts> prompts_of(std::uint64_t seed, double before_rate, double after_rate, int count = 120) {
  RandomStream random(seed, Purpose::kSimulation);
  std::vector<PromptTexts> prompts(static_cast<std::size_t>(count));
  for (PromptTexts& prompt : prompts) {
    prompt.before.push_back(text_of(random, before_rate, "bye! sending love!"));
    for (int k = 0; k < 4; ++k) prompt.after.push_back(text_of(random, after_rate, "bye! sending love!"));
  }
  return prompts;
}

TEST(RisingPhrases, FindsAPlantedClosingAndNamesItWhole) {
  const auto prompts = prompts_of(1, 0.01, 0.08);
  const auto phrases = rising_phrases(prompts, 5, 0.01);
  ASSERT_FALSE(phrases.empty());
  const RisingPhrase& phrase = phrases.front();
  EXPECT_THAT(phrase.words, testing::EndsWith("bye sending love"));
  EXPECT_LT(phrase.p, 0.001);
  EXPECT_NEAR(phrase.after_rate, 0.08, 0.04);
  EXPECT_DOUBLE_EQ(phrase.share_at_end, 1.0);
  EXPECT_EQ(static_cast<double>(phrase.responses.size()), std::round(phrase.after_rate * 480));
  for (const auto& [p, r] : phrase.responses)
    EXPECT_THAT(prompts[p].after[r], testing::HasSubstr("bye! sending love!"));
  EXPECT_EQ(phrases.size(), 1u) << "its parts are not named again";
}

TEST(RisingPhrases, AlarmsFalselyAtMostAsOftenAsSaid) {
  constexpr int kWorlds = 300;
  constexpr double kRate = 0.1;
  int alarms = 0;
  for (std::uint64_t world = 0; world < kWorlds; ++world)
    alarms += rising_phrases(prompts_of(100 + world, 0.05, 0.05, 40), 4, kRate).empty() ? 0 : 1;
  EXPECT_LE(alarms, kWorlds * kRate + 3 * std::sqrt(kWorlds * kRate * (1 - kRate)));
}

TEST(RisingPhrases, FindsMoreTheMoreThereIs) {
  int found = 0;
  for (std::uint64_t world = 0; world < 20; ++world)
    found += rising_phrases(prompts_of(500 + world, 0.0, 0.06, 320), 4, 0.01).empty() ? 0 : 1;
  EXPECT_GE(found, 19) << "about 77 of 1,280 responses against none of 320";
}

TEST(RisingPhrases, TakesAnyBytesAndNoTexts) {
  EXPECT_TRUE(rising_phrases({}, 5, 0.01).empty());
  const std::vector<PromptTexts> odd{{{"", "\xFF\xFE"}, {"...", "\xF0\x9F"}}, {{}, {}}, {{"a"}, {}}};
  EXPECT_TRUE(rising_phrases(odd, 5, 0.01).empty());
}

TEST(MeasureShift, IsSignificantOnlyAboveTheTolerance) {
  RandomStream random(3, Purpose::kSimulation);
  std::vector<double> before, after;
  for (int i = 0; i < 400; ++i) {
    before.push_back(10 + random.normal());
    after.push_back(before.back() + 1 + 0.5 * random.normal());
  }
  EXPECT_LT(measure_shift(before, after, 0.5).p, 1e-6);
  EXPECT_GT(measure_shift(before, after, 1.5).p, 1 - 1e-6);
  EXPECT_NEAR(measure_shift(before, after, 0.5).after, 11, 0.2);
  EXPECT_TRUE(std::isnan(measure_shift(std::span(before).first(19), std::span(after).first(19), 0).p));
  EXPECT_DOUBLE_EQ(measure_shift(before, before, 0).p, 1.0);
}

}  // namespace
}  // namespace rluf
