#include "rluf/pipeline/constraints/instructions.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>

#include "rluf/config/option_table.hpp"
#include "rluf/core/error.hpp"
#include "rluf/pipeline/constraints/characters.hpp"
#include "rluf/pipeline/constraints/json_schema.hpp"
#include "rluf/pipeline/constraints/language.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;
using View = std::u32string_view;

enum class Kind { kText, kTexts, kCount, kRelation, kLetter, kLanguage };
struct Argument {
  const char* name;
  Kind kind;
};

/// A response as the rules look at it, and the arguments of the instruction.
struct Case {
  const std::string& utf8;
  View text;
  const Json& arguments;

  std::u32string words(const char* name) const { return code_points(arguments.at(name).get<std::string>()); }
  std::int64_t number(const char* name) const { return arguments.at(name).get<std::int64_t>(); }
  bool related(std::size_t found, const char* relation, const char* number_name) const {
    const bool less = static_cast<std::int64_t>(found) < number(number_name);
    return arguments.at(relation) == "less than" ? less : !less;
  }
  bool at_least(std::size_t found, const char* name) const { return static_cast<std::int64_t>(found) >= number(name); }
};

bool is_blank(View text) { return stripped(text).empty(); }

/// Words before whose full stop no sentence ends.
bool is_abbreviation(View word) {
  static const std::array<View, 12> known{U"Mr", U"Mrs", U"Ms",  U"Dr",  U"Prof", U"St",
                                          U"vs", U"e.g", U"i.e", U"etc", U"Jr",   U"No"};
  return std::find(known.begin(), known.end(), word) != known.end() || (word.size() == 1 && is_upper(word[0]));
}

/// Sentences end at . ! ? with what closes behind them, before white space or the end.
std::size_t count_sentences(View text) {
  std::size_t count = 0;
  bool open = false;
  for (const View token : tokens_of(text)) {
    open = open || std::any_of(token.begin(), token.end(), is_word);
    View core = token;
    while (!core.empty() && View(U"\"')]*_\u201D\u2019").find(core.back()) != View::npos) core.remove_suffix(1);
    if (core.empty() || View(U".!?\u2026\u3002\uFF01\uFF1F").find(core.back()) == View::npos) continue;
    const bool stop = core.back() == U'.';
    core.remove_suffix(1);
    if (stop && is_abbreviation(core)) continue;
    count += open ? 1 : 0;
    open = false;
  }
  return count + (open ? 1 : 0);
}

std::size_t count_placeholders(View text) {  // [ and the next ] on the same line
  std::size_t count = 0;
  for (const View line : split(text, U"\n"))
    for (std::size_t from = line.find(U'['); from != View::npos; from = line.find(U'[', from)) {
      from = line.find(U']', from);
      if (from == View::npos) break;
      ++count;
    }
  return count;
}

std::size_t count_bullets(View text) {
  std::size_t count = 0;
  for (const View line : split(text, U"\n")) {
    const View item = stripped(line);
    count += item.starts_with(U'-') || (item.size() > 1 && item[0] == U'*' && item[1] != U'*') ? 1 : 0;
  }
  return count;
}

/// Passages between two marks of `width` stars on one line, without a star inside, that are not blank.
std::size_t count_marked(View text, std::size_t width) {
  const std::u32string mark(width, U'*');
  std::size_t count = 0;
  for (std::size_t i = text.find(mark); i != View::npos; i = text.find(mark, i)) {
    const std::size_t first = i + width, last = text.find_first_of(U"*\n", first);
    const bool closed = last != View::npos && text.substr(last, width) == mark;
    count += closed && !is_blank(text.substr(first, last - first)) ? 1 : 0;
    i = closed ? last + width : i + 1;
  }
  return count;
}

/// Section heads: the splitter, at most one space, a number.
std::size_t count_sections(View text, View splitter) {
  std::size_t count = 0;
  for (std::size_t at = text.find(splitter); at != View::npos; at = text.find(splitter, at + splitter.size())) {
    View rest = text.substr(at + splitter.size());
    if (!rest.empty() && is_space(rest[0])) rest.remove_prefix(1);
    count += !rest.empty() && rest[0] >= U'0' && rest[0] <= U'9' ? 1 : 0;
  }
  return count;
}

/// The parts between separators if none but the first and the last are blank; those blank ones do not count.
std::vector<View> whole_parts(View text, View separator) {
  std::vector<View> parts = split(text, separator);
  if (is_blank(parts.front())) parts.erase(parts.begin());
  if (!parts.empty() && is_blank(parts.back())) parts.pop_back();
  if (std::any_of(parts.begin(), parts.end(), is_blank)) return {};
  return parts;
}

bool first_word_is(const Case& c) {
  const auto parts = split(c.text, U"\n\n");
  const auto count = std::count_if(parts.begin(), parts.end(), [](View part) { return !is_blank(part); });
  const std::int64_t nth = c.number("nth_paragraph");
  if (count != c.number("num_paragraphs") || nth > count) return false;
  const View paragraph = stripped(parts[static_cast<std::size_t>(nth - 1)]);
  if (paragraph.empty()) return false;
  View word = tokens_of(paragraph).front();
  while (!word.empty() && (word[0] == U'\'' || word[0] == U'"')) word.remove_prefix(1);
  word = word.substr(0, word.find_first_of(U".,?!'\""));
  return lower_of(std::u32string(word)) == lower_of(c.words("first_word"));
}

bool has_title(View text) {  // <<something>> on one line
  for (const View line : split(text, U"\n")) {
    const std::size_t first = line.find(U"<<"), last = line.rfind(U">>");
    if (first == View::npos || last == View::npos || last < first + 3) continue;
    View inside = line.substr(first, last + 2 - first);
    while (!inside.empty() && inside.front() == U'<') inside.remove_prefix(1);
    while (!inside.empty() && inside.back() == U'>') inside.remove_suffix(1);
    if (!is_blank(inside)) return true;
  }
  return false;
}

/// The marker in any case; inside of P.S. and P.P.S there may be spaces.
bool has_postscript(View text, View marker) {
  if (marker != U"P.S." && marker != U"P.P.S")
    return lower_of(std::u32string(text)).find(lower_of(std::u32string(marker))) != View::npos;
  const std::u32string lower = lower_of(std::u32string(text));
  const std::u32string letters = marker == U"P.S." ? U"p.s." : U"p.p.s";
  for (std::size_t start = 0; start < lower.size(); ++start) {
    std::size_t at = start, k = 0;
    for (; k < letters.size(); ++k) {
      // One space may stand before each letter but the first.
      if (k > 0 && letters[k] != U'.' && at < lower.size() && is_space(lower[at])) ++at;
      if (at >= lower.size() || lower[at] != letters[k]) break;
      ++at;
    }
    if (k == letters.size()) return true;
  }
  return false;
}

/// The word, in any case, not inside of a longer one.
bool has_word(View text, View word) {
  const std::u32string lower = lower_of(std::u32string(text)), wanted = lower_of(std::u32string(word));
  for (std::size_t at = lower.find(wanted); at != View::npos; at = lower.find(wanted, at + 1)) {
    const std::size_t end = at + wanted.size();
    const auto border = [&](bool outside, std::size_t inside) { return outside != is_word(wanted[inside]); };
    const bool left = border(at > 0 && is_word(lower[at - 1]), 0);
    const bool right = border(end < lower.size() && is_word(lower[end]), wanted.size() - 1);
    if (left && right) return true;
  }
  return false;
}

std::size_t count_in_any_case(View text, View part) {
  return occurrences(lower_of(std::u32string(text)), lower_of(std::u32string(part)));
}

std::size_t count_capital_words(View text) {
  std::size_t count = 0;
  for (View token : tokens_of(text)) {
    while (!token.empty() && !is_word(token.front())) token.remove_prefix(1);
    while (!token.empty() && !is_word(token.back())) token.remove_suffix(1);
    count += all_upper(token) ? 1 : 0;
  }
  return count;
}

bool is_two_responses(View text) {
  const auto parts = whole_parts(text, U"******");
  return parts.size() == 2 && stripped(parts[0]) != stripped(parts[1]);
}

bool ends_with(View text, View phrase) {
  View end = stripped(text);
  while (!end.empty() && end.front() == U'"') end.remove_prefix(1);
  while (!end.empty() && end.back() == U'"') end.remove_suffix(1);
  return lower_of(std::u32string(end)).ends_with(lower_of(std::u32string(stripped(phrase))));
}

bool may_be_english(const std::string& text) {
  const std::string language = language_of(text);
  return language.empty() || language == "en";
}

struct Type {
  std::vector<Argument> arguments;
  std::function<bool(const Case&)> follows;
};

const std::map<std::string, Type>& types() {
  static const std::map<std::string, Type> all = {
      {"keywords:existence",
       {{{"keywords", Kind::kTexts}},
        [](const Case& c) {
          const Json& keywords = c.arguments.at("keywords");
          return std::all_of(keywords.begin(), keywords.end(), [&](const Json& keyword) {
            return count_in_any_case(c.text, code_points(keyword.get<std::string>())) > 0;
          });
        }}},
      {"keywords:frequency",
       {{{"keyword", Kind::kText}, {"frequency", Kind::kCount}, {"relation", Kind::kRelation}},
        [](const Case& c) {
          return c.related(count_in_any_case(c.text, c.words("keyword")), "relation", "frequency");
        }}},
      {"keywords:forbidden_words",
       {{{"forbidden_words", Kind::kTexts}},
        [](const Case& c) {
          const Json& words = c.arguments.at("forbidden_words");
          return std::none_of(words.begin(), words.end(),
                              [&](const Json& word) { return has_word(c.text, code_points(word.get<std::string>())); });
        }}},
      {"keywords:letter_frequency",
       {{{"letter", Kind::kLetter}, {"let_frequency", Kind::kCount}, {"let_relation", Kind::kRelation}},
        [](const Case& c) {
          return c.related(count_in_any_case(c.text, c.words("letter")), "let_relation", "let_frequency");
        }}},
      {"language:response_language",
       {{{"language", Kind::kLanguage}},
        [](const Case& c) { return language_of(c.utf8) == c.arguments.at("language").get<std::string>(); }}},
      {"length_constraints:number_sentences",
       {{{"num_sentences", Kind::kCount}, {"relation", Kind::kRelation}},
        [](const Case& c) { return c.related(count_sentences(c.text), "relation", "num_sentences"); }}},
      {"length_constraints:number_paragraphs",
       {{{"num_paragraphs", Kind::kCount}},
        [](const Case& c) { return std::ssize(whole_parts(c.text, U"***")) == c.number("num_paragraphs"); }}},
      {"length_constraints:number_words",
       {{{"num_words", Kind::kCount}, {"relation", Kind::kRelation}},
        [](const Case& c) { return c.related(words_of(c.text).size(), "relation", "num_words"); }}},
      {"length_constraints:nth_paragraph_first_word",
       {{{"num_paragraphs", Kind::kCount}, {"nth_paragraph", Kind::kCount}, {"first_word", Kind::kText}},
        first_word_is}},
      {"detectable_content:number_placeholders",
       {{{"num_placeholders", Kind::kCount}},
        [](const Case& c) { return c.at_least(count_placeholders(c.text), "num_placeholders"); }}},
      {"detectable_content:postscript",
       {{{"postscript_marker", Kind::kText}},
        [](const Case& c) { return has_postscript(c.text, c.words("postscript_marker")); }}},
      {"detectable_format:number_bullet_lists",
       {{{"num_bullets", Kind::kCount}},
        [](const Case& c) { return static_cast<std::int64_t>(count_bullets(c.text)) == c.number("num_bullets"); }}},
      {"detectable_format:constrained_response",
       {{},
        [](const Case& c) {
          return c.text.find(U"My answer is yes.") != View::npos || c.text.find(U"My answer is no.") != View::npos ||
                 c.text.find(U"My answer is maybe.") != View::npos;
        }}},
      {"detectable_format:number_highlighted_sections",
       {{{"num_highlights", Kind::kCount}},
        [](const Case& c) { return c.at_least(count_marked(c.text, 1) + count_marked(c.text, 2), "num_highlights"); }}},
      {"detectable_format:multiple_sections",
       {{{"section_spliter", Kind::kText}, {"num_sections", Kind::kCount}},
        [](const Case& c) { return c.at_least(count_sections(c.text, c.words("section_spliter")), "num_sections"); }}},
      {"detectable_format:json_format", {{}, [](const Case& c) { return Json::accept(json_text(c.utf8)); }}},
      {"detectable_format:title", {{}, [](const Case& c) { return has_title(c.text); }}},
      {"combination:two_responses", {{}, [](const Case& c) { return is_two_responses(c.text); }}},
      {"combination:repeat_prompt",
       {{{"prompt_to_repeat", Kind::kText}},
        [](const Case& c) {
          return lower_of(std::u32string(stripped(c.text)))
              .starts_with(lower_of(std::u32string(stripped(c.words("prompt_to_repeat")))));
        }}},
      {"startend:end_checker",
       {{{"end_phrase", Kind::kText}}, [](const Case& c) { return ends_with(c.text, c.words("end_phrase")); }}},
      {"startend:quotation",
       {{},
        [](const Case& c) {
          const View text = stripped(c.text);
          return text.size() > 1 && text.front() == U'"' && text.back() == U'"';
        }}},
      {"change_case:capital_word_frequency",
       {{{"capital_frequency", Kind::kCount}, {"capital_relation", Kind::kRelation}},
        [](const Case& c) { return c.related(count_capital_words(c.text), "capital_relation", "capital_frequency"); }}},
      {"change_case:english_capital", {{}, [](const Case& c) { return all_upper(c.text) && may_be_english(c.utf8); }}},
      {"change_case:english_lowercase",
       {{}, [](const Case& c) { return all_lower(c.text) && may_be_english(c.utf8); }}},
      {"punctuation:no_comma", {{}, [](const Case& c) { return c.text.find(U',') == View::npos; }}},
  };
  return all;
}

std::string list_of(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// What an argument must be, if it is not that.
std::string complaint_about(const Json& value, Kind kind) {
  const auto is_text = [](const Json& v) { return v.is_string() && !v.get_ref<const std::string&>().empty(); };
  switch (kind) {
    case Kind::kText:
      return is_text(value) ? "" : "a text";
    case Kind::kTexts:
      return value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), is_text) ? ""
                                                                                                    : "a list of texts";
    case Kind::kCount:
      return value.is_number_integer() && value >= 0 && value < 1'000'000'000 ? "" : "a whole number from 0";
    case Kind::kRelation:
      return value == "at least" || value == "less than" ? "" : "\"at least\" or \"less than\"";
    case Kind::kLetter:
      return is_text(value) && code_points(value.get<std::string>()).size() == 1 ? "" : "one letter";
    case Kind::kLanguage: {
      const auto known = known_languages();
      const bool is_known =
          is_text(value) && std::find(known.begin(), known.end(), value.get<std::string>()) != known.end();
      return is_known ? "" : "one of " + list_of(known);
    }
  }
  return "";
}

}  // namespace

std::vector<std::string> instruction_types() {
  std::vector<std::string> names;
  for (const auto& [name, type] : types()) names.push_back(name);
  return names;
}

std::string complaint_about(const Instruction& instruction) {
  const auto found = types().find(instruction.type);
  if (found == types().end()) {
    const std::string near = nearest_name(instruction.type, instruction_types());
    return concat("the instruction type \"", instruction.type, "\" is unknown; ",
                  near.empty() ? "known: " + list_of(instruction_types()) : "did you mean " + near + "?");
  }
  std::vector<std::string> names;
  for (const Argument& argument : found->second.arguments) {
    names.emplace_back(argument.name);
    if (!instruction.arguments.contains(argument.name))
      return concat(instruction.type, " lacks the argument \"", argument.name, "\"");
    const std::string wanted = complaint_about(instruction.arguments.at(argument.name), argument.kind);
    if (!wanted.empty()) return concat("\"", argument.name, "\" of ", instruction.type, " must be ", wanted);
  }
  for (const auto& [name, value] : instruction.arguments.items())
    if (std::find(names.begin(), names.end(), name) == names.end())
      return concat(instruction.type, " has no argument \"", name, "\"");
  if (instruction.type == "length_constraints:nth_paragraph_first_word" && instruction.arguments["nth_paragraph"] == 0)
    return "\"nth_paragraph\" counts from 1";
  return "";
}

bool follows(const Instruction& instruction, std::string_view response) {
  const std::string utf8(response);
  const std::u32string text = code_points(response);
  return types().at(instruction.type).follows({utf8, text, instruction.arguments});
}

}  // namespace rluf
