#include "rluf/pipeline/constraints/instructions.hpp"

#include <gtest/gtest.h>

#include <set>

#include "rluf/pipeline/constraints/language.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

struct Example {
  const char* type;
  Json arguments;
  const char *satisfied, *violated;
};

const std::vector<Example>& examples() {
  static const Json kNone = Json::object();
  static const std::vector<Example> all = {
      {"keywords:existence", {{"keywords", {"rain", "Umbrella"}}}, "RAIN, so take an umbrella.", "Rain only."},
      {"keywords:frequency", {{"keyword", "tea"}, {"frequency", 2}, {"relation", "at least"}}, "Tea and tea.", "Tea."},
      {"keywords:frequency", {{"keyword", "tea"}, {"frequency", 2}, {"relation", "less than"}}, "Tea.", "Teatea"},
      {"keywords:forbidden_words", {{"forbidden_words", {"bad", "worse"}}}, "A badge.", "That is BAD!"},
      {"keywords:letter_frequency",
       {{"letter", "e"}, {"let_frequency", 3}, {"let_relation", "at least"}},
       "Eerie",
       "Ear tea"},
      {"keywords:letter_frequency",
       {{"letter", "\xC3\xA9"}, {"let_frequency", 1}, {"let_relation", "less than"}},
       "cafe",
       "CAF\xC3\x89"},
      {"language:response_language",
       {{"language", "de"}},
       "Das ist nicht der Weg, den wir gehen wollen.",
       "That is not the way that we want to go."},
      {"length_constraints:number_sentences",
       {{"num_sentences", 3}, {"relation", "at least"}},
       "One. Two is here! And three?",
       "Dr. J. Smith is here. So e.g. am I."},
      {"length_constraints:number_sentences",
       {{"num_sentences", 2}, {"relation", "less than"}},
       "Pi is 3.14 (about)",
       "He said \"no.\" She left"},
      {"length_constraints:number_paragraphs", {{"num_paragraphs", 2}}, "one\n***\ntwo\n", "one\n***\n \n***\ntwo"},
      {"length_constraints:number_words",
       {{"num_words", 4}, {"relation", "at least"}},
       "It's one, two",
       "one two three"},
      {"length_constraints:number_words", {{"num_words", 2}, {"relation", "less than"}}, " one! ", "one-two"},
      {"length_constraints:nth_paragraph_first_word",
       {{"num_paragraphs", 2}, {"nth_paragraph", 2}, {"first_word", "Then"}},
       "First.\n\n\"then, we go",
       "Then.\n\nNow"},
      {"length_constraints:nth_paragraph_first_word",
       {{"num_paragraphs", 1}, {"nth_paragraph", 1}, {"first_word", "go"}},
       "Go! on",
       "Going on"},
      {"detectable_content:number_placeholders", {{"num_placeholders", 2}}, "[name] of [place]", "[name\n] of [place]"},
      {"detectable_content:postscript", {{"postscript_marker", "P.S."}}, "Bye.\nP. S. More.", "Bye. PS more"},
      {"detectable_content:postscript", {{"postscript_marker", "P.P.S"}}, "p.p.s one more", "P.S. one more"},
      {"detectable_format:number_bullet_lists",
       {{"num_bullets", 2}},
       "List:\n * one\n- two\n**bold**",
       "* one\n* two\n- three"},
      {"detectable_format:constrained_response", kNone, "Well. My answer is maybe.", "My answer is perhaps."},
      {"detectable_format:number_highlighted_sections",
       {{"num_highlights", 2}},
       "*one* and **two**",
       "*one* and ** **"},
      {"detectable_format:multiple_sections",
       {{"section_spliter", "Section"}, {"num_sections", 2}},
       "Section 1\na\nSection 2\nb",
       "Section 1\na\nSection two"},
      {"detectable_format:json_format", kNone, "```json\n{\"a\": [1, null]}\n```", "{'a': 1}"},
      {"detectable_format:title", kNone, "<<A day out>>\nWe went.", "<< >>\nWe went."},
      {"combination:two_responses", kNone, "first\n******\nsecond", "same\n******\nsame"},
      {"combination:repeat_prompt", {{"prompt_to_repeat", "Why is it so?"}}, "why is it so? Because.", "Because."},
      {"startend:end_checker",
       {{"end_phrase", "Any other questions?"}},
       "Yes. any other questions?\" ",
       "Any other questions? No."},
      {"startend:quotation", kNone, " \"All of it.\" ", "\"All\" of it."},
      {"change_case:capital_word_frequency",
       {{"capital_frequency", 2}, {"capital_relation", "at least"}},
       "NEVER say \"NEVER!\"",
       "NEVER say Never."},
      {"change_case:capital_word_frequency",
       {{"capital_frequency", 1}, {"capital_relation", "less than"}},
       "No 42.",
       "I"},
      {"change_case:english_capital", kNone, "ALL OF THIS IS LOUD: 42!", "ALL OF THIS IS NOT loud"},
      {"change_case:english_lowercase", kNone, "this is quiet: 42!", "This is not"},
      {"change_case:english_lowercase", kNone, "the end", "das ist nicht der weg und nicht das ziel"},
      {"punctuation:no_comma", kNone, "None; here.", "One, here."},
  };
  return all;
}

TEST(Instructions, EachTypeIsSatisfiedAndViolated) {
  std::set<std::string> seen;
  for (const Example& example : examples()) {
    const Instruction instruction{example.type, example.arguments};
    EXPECT_EQ(complaint_about(instruction), "");
    EXPECT_TRUE(follows(instruction, example.satisfied)) << example.type << ": " << example.satisfied;
    EXPECT_FALSE(follows(instruction, example.violated)) << example.type << ": " << example.violated;
    seen.insert(example.type);
  }
  const auto types = instruction_types();
  EXPECT_EQ(types.size(), 25U);
  EXPECT_EQ(seen, std::set<std::string>(types.begin(), types.end()));
}

TEST(Instructions, AnyBytesCanBeJudged) {
  const std::string broken = "\xF0\x9F cut \xFF*[<<\"\0-", large(2'000'000, '*');
  for (const Example& example : examples())
    for (const std::string& text : {std::string(), broken, large, std::string(200'000, '[')})
      follows({example.type, example.arguments}, text);
  EXPECT_FALSE(follows({"startend:quotation", {}}, "\"")) << "one mark does not wrap";
}

TEST(Instructions, BadOnesAreNamed) {
  EXPECT_NE(complaint_about({"length_constraints:number_word", Json::object()})
                .find("did you mean length_constraints:number_words"),
            std::string::npos);
  EXPECT_NE(complaint_about({"keywords:frequency", {{"keyword", "a"}, {"frequency", 1}}}).find("relation"),
            std::string::npos);
  EXPECT_NE(complaint_about({"keywords:frequency", {{"keyword", "a"}, {"frequency", -1}, {"relation", "at least"}}})
                .find("frequency"),
            std::string::npos);
  EXPECT_NE(complaint_about({"keywords:frequency", {{"keyword", "a"}, {"frequency", 1}, {"relation", "at most"}}})
                .find("less than"),
            std::string::npos);
  EXPECT_NE(complaint_about({"punctuation:no_comma", {{"comma", 1}}}).find("no argument \"comma\""), std::string::npos);
  EXPECT_NE(complaint_about({"keywords:existence", {{"keywords", Json::array()}}}).find("list of texts"),
            std::string::npos);
  EXPECT_NE(complaint_about({"language:response_language", {{"language", "xx"}}}).find("one of ar, bn"),
            std::string::npos);
}

TEST(Language, ByScriptAndFrequentWords) {
  EXPECT_EQ(language_of("The cat is on the mat and it is not for you."), "en");
  EXPECT_EQ(language_of("Die Katze liegt auf der Matte und das ist nicht gut."), "de");
  EXPECT_EQ(language_of("Le chat est sur le tapis et il ne veut pas bouger."), "fr");
  EXPECT_EQ(language_of("El gato est\u00E1 en la alfombra y no quiere moverse por nada."), "es");
  EXPECT_EQ(language_of("Il gatto \u00E8 sul tappeto e non si muove per nulla con il cane."), "it");
  EXPECT_EQ(language_of("O gato est\u00E1 no tapete e n\u00E3o quer sair por nada com uma bola."), "pt");
  EXPECT_EQ(language_of("De kat ligt op het kleed en is niet van plan om te gaan."), "nl");
  EXPECT_EQ(language_of("\u041A\u043E\u0448\u043A\u0430 \u043D\u0430 \u043A\u043E\u0432\u0440\u0435"), "ru");
  EXPECT_EQ(language_of("\u041A\u0456\u0442 \u043D\u0430 \u043A\u0438\u043B\u0438\u043C\u0456"), "uk");
  EXPECT_EQ(language_of("\u3053\u308C\u306F\u732B\u3067\u3059"), "ja");
  EXPECT_EQ(language_of("\u8FD9\u662F\u732B"), "zh");
  EXPECT_EQ(language_of("\uACE0\uC591\uC774"), "ko");
  EXPECT_EQ(language_of("42!"), "") << "no letters";
  EXPECT_EQ(language_of("Xyzzy plugh"), "") << "no frequent word";
}

}  // namespace
}  // namespace rluf
