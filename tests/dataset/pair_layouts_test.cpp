#include "rluf/pipeline/dataset/pair_layouts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

Json json(const char* text) { return Json::parse(text); }

/// The row as the layout that it has.
PreferencePair pair_of(const char* text) { return read_pair(json(text), layout_of(json(text)).value(), "file", 7); }

std::string text_of(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) text += message.role + ":" + message.content + "|";
  return text;
}

void expect_pair(const char* row, PairLayout layout, const std::string& prompt, const std::string& chosen,
                 const std::string& rejected, double margin = 0) {
  ASSERT_EQ(layout_of(json(row)), layout) << row;
  const PreferencePair pair = pair_of(row);
  EXPECT_EQ(text_of(pair.prompt), prompt);
  EXPECT_EQ(pair.chosen, chosen);
  EXPECT_EQ(pair.rejected, rejected);
  EXPECT_DOUBLE_EQ(pair.margin, margin);
}

TEST(PairLayouts, TextsAndLoneMessagesBesideAPrompt) {
  expect_pair(R"({"prompt":"q","chosen":"a","rejected":"b","margin":0.5})", PairLayout::kResponses, "user:q|", "a", "b",
              0.5);
  expect_pair(
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"chosen":"a","rejected":"b",
                  "score_chosen":4.5,"score_rejected":2})",
      PairLayout::kResponses, "system:s|user:q|", "a", "b", 2.5);
  expect_pair(R"({"prompt":[{"role":"user","content":"q"}],"chosen":[{"role":"assistant","content":"a"}],
                  "rejected":[{"role":"assistant","content":"b"}]})",
              PairLayout::kResponses, "user:q|", "a", "b");
}

TEST(PairLayouts, TheBeginningOfConversationsIsThePrompt) {
  expect_pair(R"({"prompt":" q2","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"r"},
                  {"role":"user","content":"q2"},{"role":"assistant","content":"a"}],
                  "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"r"},
                  {"role":"user","content":"q2"},{"role":"assistant","content":"b"}]})",
              PairLayout::kConversations, "user:q|assistant:r|user:q2|", "a", "b");
  // Equal responses stay responses: the stage counts such rows.
  expect_pair(R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
                  "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})",
              PairLayout::kConversations, "user:q|", "a", "a");
}

TEST(PairLayouts, TranscriptsAreConversations) {
  expect_pair(R"({"chosen":"\n\nHuman: q\n\nline two\n\nAssistant: r\n\nHuman: q2 \n\nAssistant: a",
                  "rejected":"\n\nHuman: q\n\nline two\n\nAssistant: r\n\nHuman: q2\n\nAssistant: b\n"})",
              PairLayout::kTranscripts, "user:q\n\nline two|assistant:r|user:q2|", "a", "b");
}

TEST(PairLayouts, RowsThatAreOneResponse) {
  const auto rated = [](const char* text, PairLayout layout) {
    EXPECT_EQ(layout_of(json(text)), layout) << text;
    return read_rated(json(text), layout, "file", 7);
  };
  const RatedResponse good = rated(R"({"prompt":"q","completion":"a","label":true})", PairLayout::kLabelled);
  EXPECT_EQ(text_of(good.prompt) + good.response, "user:q|a");
  EXPECT_EQ(good.score, 1);
  EXPECT_EQ(
      rated(R"({"prompt":[{"role":"user","content":"q"}],"response":[{"role":"assistant","content":"a"}],"label":0})",
            PairLayout::kLabelled)
          .score,
      0);
  EXPECT_EQ(rated(R"({"prompt":"q","response":"a","score":-2.5})", PairLayout::kScored).score, -2.5);
}

TEST(PairLayouts, WhatIsNoPreferenceHasNoLayout) {
  for (const char* row : {R"({"prompt":"q","response":"a"})", R"({"completion":"a","label":true})", R"({"chosen":"a"})",
                          R"({"prompt":"q","chosen":["a"],"rejected":"b"})", "{}"})
    EXPECT_EQ(layout_of(json(row)), std::nullopt) << row;
}

TEST(PairLayouts, ErrorsNameLineAndReason) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
           "rejected":[{"role":"user","content":"p"},{"role":"assistant","content":"b"}]})",
       "do not begin with the same"},
      {R"({"chosen":[{"role":"assistant","content":"a"}],"rejected":[{"role":"assistant","content":"b"}]})",
       "do not begin with the same"},
      {R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"},
           {"role":"assistant","content":"c"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]})",
       "part before their last message"},
      {R"({"chosen":[{"role":"user","content":"q"},{"role":"user","content":"a"}],
           "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]})",
       "chosen ends with the role user"},
      {R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"x"},{"role":"assistant","content":"a"}],
           "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"x"},{"role":"assistant","content":"b"}]})",
       "the prompt ends with the role assistant"},
      {R"({"prompt":"other","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
           "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]})",
       "the prompt is not in"},
      {R"({"chosen":"Human: q\n\nAssistant: a","rejected":"just a text"})",
       "\"rejected\" does not begin with \"Human:\""},
      {R"({"chosen":[{"role":"robot","content":"q"},{"role":"assistant","content":"a"}],
           "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]})",
       "unknown role \"robot\""},
      {R"({"prompt":"q","chosen":"a","rejected":"b","margin":1,"score_chosen":1,"score_rejected":0})",
       "a margin and scores"},
      {R"({"prompt":"q","chosen":"a","rejected":"b","score_chosen":1})", "\"score_rejected\" is missing"}};
  for (const auto& [row, reason] : cases) {
    try {
      pair_of(row);
      ADD_FAILURE() << "no error: " << row;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("file:7: "), HasSubstr(reason)));
    }
  }
  EXPECT_THROW(read_rated(json(R"({"prompt":"q","response":"a","label":2})"), PairLayout::kLabelled, "file", 7), Error);
  try {  // a row of another layout than the file's
    read_pair(json(R"({"prompt":"q","completion":"a","label":true})"), PairLayout::kResponses, "file", 7);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("file:7: the row has the layout \"labelled\", the first row \"responses\""));
  }
}

TEST(PairLayouts, TheBestIsComparedWithTheWorst) {
  EXPECT_THAT(best_against_worst({0, 1, 1, 0, 0}), ElementsAre(Pair(1, 4), Pair(2, 3)));
  EXPECT_THAT(best_against_worst({1, 1, 1, 0}), ElementsAre(Pair(0, 3)));
  EXPECT_THAT(best_against_worst({2.5, -1, 7, 2.5}), ElementsAre(Pair(2, 1)));
  EXPECT_TRUE(best_against_worst({1, 1}).empty());
  EXPECT_TRUE(best_against_worst({}).empty());
}

}  // namespace
}  // namespace rluf
