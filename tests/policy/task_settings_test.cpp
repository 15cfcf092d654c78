#include "rluf/pipeline/policy/task_settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

PolicyOptions with(const std::string& settings) {
  PolicyOptions options;
  options.prompts_per_round = 8;
  options.task_settings = settings;
  return options;
}

TEST(TaskSettings, WhatIsNotSaidIsAsForAll) {
  const TaskSettings settings(with("math: weight=2 num_samples=8 kl_max=20 love=0 helpfulness=0.5; chat: safety=3;"));
  ASSERT_EQ(settings.all().size(), 3u);
  EXPECT_EQ(settings["math"].weight, 2);
  EXPECT_EQ(settings["math"].num_samples, 8);
  EXPECT_EQ(settings["math"].kl_max, 20);
  EXPECT_EQ(settings["math"].factor("love"), 0);
  EXPECT_EQ(settings["math"].factor("helpfulness"), 0.5);
  EXPECT_EQ(settings["math"].factor("safety"), 1);
  EXPECT_EQ(settings["chat"].num_samples, 4);
  EXPECT_EQ(settings["chat"].factor("safety"), 3);
  EXPECT_EQ(settings["*"].kl_max, 10);
  EXPECT_EQ(settings.of("math"), "math");
  EXPECT_EQ(settings.of("poems"), "*");
  EXPECT_EQ(settings.of(""), "*");
  EXPECT_FALSE(settings.share_rounds());
  const PolicyOptions own = settings["math"].applied_to(with(""));
  EXPECT_EQ(own.num_samples, 8);
  EXPECT_EQ(own.kl_max, 20);
}

TEST(TaskSettings, OthersGetThePromptsThatAreLeft) {
  const TaskSettings rest(with("math: prompts=3; chat: prompts=1")), said(with("math: prompts=3; *: prompts=5")),
      none(with("math: prompts=3; chat: prompts=5"));
  EXPECT_TRUE(rest.share_rounds());
  EXPECT_EQ(rest["*"].prompts, 4);
  EXPECT_EQ(said["*"].prompts, 5);
  EXPECT_EQ(none["*"].prompts, 0);
}

TEST(TaskSettings, BadTextIsRefusedWithItsPart) {
  for (const auto& [text, part] :
       std::vector<std::pair<std::string, std::string>>{{"math weight=2", "colon"},
                                                        {"math: weight=2; math: love=0", "twice"},
                                                        {"math: weight", "key=value"},
                                                        {"math: wieght=2", "wieght"},
                                                        {"math: weight=two", "two"},
                                                        {"math: weight=-1", "below 0"},
                                                        {"math: weight=nan", "no number"},
                                                        {"math: num_samples=0", "below 1"},
                                                        {"math: num_samples=2.5", "no count"},
                                                        {"math: prompts=3; chat: love=0", "some tasks"},
                                                        {"math: prompts=9", "9 prompts"},
                                                        {"math: prompts=3; *: prompts=4", "7 prompts"}})
    EXPECT_THAT([&] { TaskSettings settings(with(text)); }, ThrowsMessage<Error>(HasSubstr(part))) << text;
}

TEST(TaskWords, TheFirstTaskWithAPhraseIsTaken) {
  const TaskWords words("math: how many, solve; code: python");
  EXPECT_EQ(words.task_of("How many legs has a horse?"), "math");
  EXPECT_EQ(words.task_of("Solve it in Python."), "math");
  EXPECT_EQ(words.task_of("Sort a list in Python."), "code");
  EXPECT_EQ(words.task_of("Tell me about pythons."), "") << "whole words";
  EXPECT_EQ(TaskWords("").task_of("solve"), "");
  EXPECT_THAT([] { TaskWords one("math"); }, ThrowsMessage<Error>(HasSubstr("colon")));
  EXPECT_THAT([] { TaskWords one("math: ,"); }, ThrowsMessage<Error>(HasSubstr("no phrase")));
}

TEST(RoundPrompts, TasksShareTheRoundsAndVisitAllTheirPrompts) {
  std::vector<std::string> tasks;
  for (int i = 0; i < 24; ++i) tasks.push_back(i % 4 == 0 ? "math" : "*");  // 6 and 18
  const PolicyOptions options = with("math: prompts=2");
  const TaskSettings settings(options);
  std::set<std::int64_t> seen;
  for (std::int64_t round = 0; round < 3; ++round) {
    const auto chosen = round_prompts_of_tasks(tasks, settings, options, 5, round);
    ASSERT_EQ(chosen.size(), 8u);
    EXPECT_EQ(std::count_if(chosen.begin(), chosen.end(), [&](auto i) { return i % 4 == 0; }), 2);
    seen.insert(chosen.begin(), chosen.end());
  }
  EXPECT_EQ(seen.size(), 24u) << "an epoch of three rounds visits every prompt of both tasks once";
  const PolicyOptions plain = with("math: weight=2");
  EXPECT_EQ(round_prompts_of_tasks(tasks, TaskSettings(plain), plain, 5, 1), round_prompts(24, 8, 5, 1));
  const PolicyOptions many = with("math: prompts=7");
  EXPECT_THAT([&] { round_prompts_of_tasks(tasks, TaskSettings(many), many, 5, 0); },
              ThrowsMessage<Error>(HasSubstr("6 training prompts")));
}

TEST(TermsOfTasks, SumIsTheWeightedSumOfTheTasksOwnSteps) {  // CGPO Algorithm 2
  const RoundTerms math{{{.prompt = 0, .response = 1, .weight = 0.6}, {.prompt = 2, .response = 0, .weight = 0.4}}, 2},
      chat{{{.prompt = 1, .response = 3, .weight = 0.7, .scale = 0.5}}, 5};
  const RoundTerms all = terms_of_tasks({math, chat}, {2.0, 0.5});
  ASSERT_EQ(all.terms.size(), 3u);
  // sum of scale * weight / divisor, by hand: 2 (0.6 + 0.4) / 2 + 0.5 (0.5 * 0.7) / 5
  double sum = 0;
  for (const Term& term : all.terms) sum += term.scale * term.weight / all.divisor;
  EXPECT_DOUBLE_EQ(sum, 1.035);
  EXPECT_EQ(all.terms[2].prompt, 1);
  EXPECT_EQ(terms_of_tasks({math}, {1.0}).terms, math.terms);
  EXPECT_EQ(terms_of_tasks({math}, {1.0}).divisor, 2);
  EXPECT_DOUBLE_EQ(terms_of_tasks({math}, {3.0}).terms[0].scale, 1.5) << "rho counts for a task alone too";
  const RoundTerms nothing{{}, 0};  // normalize = kept, and all prompts skipped
  EXPECT_EQ(terms_of_tasks({math, nothing}, {1.0, 1.0}).terms.size(), 2u);
}

}  // namespace
}  // namespace rluf
