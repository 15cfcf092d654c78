#include "rluf/pipeline/alarms/text_measures.hpp"

#include <gtest/gtest.h>

namespace rluf {
namespace {

TEST(TextMeasures, NormalisesCaseAndSpaces) {
  EXPECT_EQ(normalized_text("  Sending\t\nLOVE \xC2\xA0now "), "sending love now");
  EXPECT_EQ(normalized_text("\xC3\x84\xC3\x97 \xCE\xA3 \xD0\x96\xD0\x81"),
            "\xC3\xA4\xC3\x97 \xCF\x83 \xD0\xB6\xD1\x91");
  EXPECT_EQ(normalized_text(""), "");
  EXPECT_EQ(normalized_text("\xE3\x80\x80\xE4\xBD\xA0\xE3\x80\x80\xE5\xA5\xBD"), "\xE4\xBD\xA0 \xE5\xA5\xBD");
  EXPECT_EQ(normalized_text("\xC3"), "\xC3") << "half a character stays";
}

TEST(TextMeasures, FindsPhrasesAtWordBorders) {
  EXPECT_EQ(phrase_list(" Bye , ,Sending  Love,"), (std::vector<std::string>{"bye", "sending love"}));
  EXPECT_TRUE(phrase_list("").empty());
  EXPECT_TRUE(contains_phrase("ok, bye!", "bye"));
  EXPECT_TRUE(contains_phrase("byes and bye", "bye")) << "the second one is a word";
  EXPECT_FALSE(contains_phrase("byes goodbye", "bye"));
  EXPECT_FALSE(contains_phrase("anything", ""));
  EXPECT_TRUE(
      contains_phrase("\xE4\xBD\xA0\xE5\xA5\xBD\xE5\x86\x8D\xE8\xA7\x81\xE5\x90\x97", "\xE5\x86\x8D\xE8\xA7\x81"))
      << "writing without spaces has no borders";
  EXPECT_FALSE(contains_any("hello", {}));
}

TEST(TextMeasures, CountsRepeatedWords) {
  EXPECT_DOUBLE_EQ(distinct_ngrams("a b a b a", 2), 2.0 / 4.0);
  EXPECT_DOUBLE_EQ(repetition_share("a b a b a", 2), 0.5);
  EXPECT_DOUBLE_EQ(distinct_ngrams("a b", 3), 1.0);
  EXPECT_DOUBLE_EQ(distinct_ngrams("", 1), 1.0);
  EXPECT_EQ(count_words("one two  three"), 3);
  EXPECT_EQ(count_words(""), 0);
}

TEST(TextMeasures, KnowsWholeCharacters) {
  EXPECT_TRUE(ends_in_whole_character(""));
  EXPECT_TRUE(ends_in_whole_character("abc"));
  EXPECT_TRUE(ends_in_whole_character("\xF0\x9F\x98\x80"));
  EXPECT_FALSE(ends_in_whole_character("x\xF0\x9F\x98"));
  EXPECT_FALSE(ends_in_whole_character("\xC3"));
  EXPECT_FALSE(ends_in_whole_character("a\x80\x80"));
}

}  // namespace
}  // namespace rluf
