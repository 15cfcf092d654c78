#include "rluf/pipeline/signals/sentiment.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(Sentiment, PraiseAndComplaint) {
  for (const char* text : {"Thanks!", "wow, AWESOME work", "That's exactly it, thank you", "not bad at all, nice"})
    EXPECT_EQ(sentiment_of(text), 1) << text;
  for (const char* text : {"That is wrong.", "This answer is useless", "no, that's incorrect", "terrible"})
    EXPECT_EQ(sentiment_of(text), -1) << text;
  for (const char* text : {"", "tell me about boats", "what is 3 + 4?", "好的，谢谢", "great, but wrong"})
    EXPECT_EQ(sentiment_of(text), 0) << text;
}

TEST(Sentiment, NegationTurnsRoundWhatFollows) {
  EXPECT_EQ(sentiment_of("this is not helpful"), -1);
  EXPECT_EQ(sentiment_of("it doesn't work, it never works"), -1);
  EXPECT_EQ(sentiment_of("it doesn\u2019t really help, that isn\u2019t useful"), -1);
  EXPECT_EQ(sentiment_of("nothing wrong with it, not wrong"), 0) << "one word each way";
  EXPECT_EQ(sentiment_of("no errors"), 1);
  EXPECT_EQ(sentiment_of("no. thanks"), 1) << "a clause ends the reach of a negation";
}

TEST(Sentiment, WordsAreWholeAndOnlyTheBeginningCounts) {
  EXPECT_EQ(sentiment_of("write about goodness and wrongdoing"), 0);
  std::string late;
  for (int i = 0; i < 30; ++i) late += "word ";
  EXPECT_EQ(sentiment_of(late + "thanks"), 0);
}

}  // namespace
}  // namespace rluf
