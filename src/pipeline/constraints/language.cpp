#include "rluf/pipeline/constraints/language.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "rluf/pipeline/constraints/characters.hpp"

namespace rluf {
namespace {

struct Script {
  char32_t first, last;
  const char* name;
};
/// Letters of a script; a script with one language has its code.
constexpr Script kScripts[] = {
    {'A', 'Z', "Latin"},      {'a', 'z', "Latin"},        {0xC0, 0x24F, "Latin"}, {0x1E00, 0x1EFF, "Latin"},
    {0x370, 0x3FF, "el"},     {0x400, 0x52F, "Cyrillic"}, {0x590, 0x5FF, "he"},   {0x600, 0x6FF, "Arabic"},
    {0x750, 0x77F, "Arabic"}, {0x900, 0x97F, "hi"},       {0x980, 0x9FF, "bn"},   {0xA00, 0xA7F, "pa"},
    {0xA80, 0xAFF, "gu"},     {0xB80, 0xBFF, "ta"},       {0xC00, 0xC7F, "te"},   {0xC80, 0xCFF, "kn"},
    {0xD00, 0xD7F, "ml"},     {0xE00, 0xE7F, "th"},       {0x1100, 0x11FF, "ko"}, {0x3040, 0x30FF, "Kana"},
    {0x3400, 0x4DBF, "Han"},  {0x4E00, 0x9FFF, "Han"},    {0xAC00, 0xD7AF, "ko"}};

/// Frequent short words; those of several languages help none of them much, since each counts for all.
const std::map<std::string, std::u32string>& frequent_words() {
  static const std::map<std::string, std::u32string> words = {
      {"en", U"the of and to in is that it for you with this are be on as have not or can from what your will an by i"},
      {"de",
       U"der die und das ist nicht ein eine zu den mit sich auf für von dem im auch es ich sie werden oder wie des"},
      {"fr", U"le la les et des un une est dans que pour pas vous qui sur du au avec ce il plus sont nous ou je être"},
      {"es", U"el la los las y que de en un una es por con para no se su lo como más del al está son pero yo o"},
      {"it", U"il la di che e un una è per non sono con del della le gli i si in da più come anche questo nel o ma"},
      {"pt", U"o a os as e que de um uma é não para com em do da por se mais como dos das você são ou seu no na"},
      {"nl", U"de het een en van is dat niet in op te zijn met voor ik je die er aan als ook maar om bij of wat"}};
  return words;
}

/// The language whose frequent words are most of the text's words: at least a tenth, and more than any other's.
std::string latin_language(const std::u32string& text) {
  const auto words = words_of(text);
  std::map<std::string, std::size_t> hits;
  for (const auto& [language, list] : frequent_words()) {
    const auto parts = tokens_of(list);
    const std::set<std::u32string_view> frequent(parts.begin(), parts.end());
    for (const auto& word : words) hits[language] += frequent.contains(word) ? 1 : 0;
  }
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto best = std::max_element(hits.begin(), hits.end(), less);
  const auto ties = std::count_if(hits.begin(), hits.end(), [&](const auto& h) { return h.second == best->second; });
  return ties == 1 && best->second * 10 >= words.size() ? best->first : "";
}

std::size_t count_of(const std::u32string& text, std::u32string_view letters) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [&](char32_t c) { return letters.find(c) != letters.npos; }));
}

}  // namespace

std::vector<std::string> known_languages() {
  std::vector<std::string> languages = {"ar", "bn", "el", "fa", "gu", "he", "hi", "ja", "kn",
                                        "ko", "ml", "pa", "ru", "ta", "te", "th", "uk", "zh"};
  for (const auto& [language, words] : frequent_words()) languages.push_back(language);
  std::sort(languages.begin(), languages.end());
  return languages;
}

std::string language_of(std::string_view utf8) {
  const std::u32string text = lower_of(code_points(utf8));
  std::map<std::string, std::size_t> letters;
  std::size_t total = 0;
  for (const char32_t c : text)
    for (const Script& script : kScripts)
      if (script.first <= c && c <= script.last) {
        ++letters[script.name];
        ++total;
        break;
      }
  const std::size_t kana = letters["Kana"];
  letters["Han"] += kana;  // Japanese mixes both
  letters.erase("Kana");
  const auto most = std::max_element(letters.begin(), letters.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (total == 0 || most->second * 2 <= total) return "";
  const std::string& script = most->first;
  if (script == "Latin") return latin_language(text);
  if (script == "Han") return kana * 10 >= most->second ? "ja" : "zh";
  if (script == "Cyrillic") return count_of(text, U"іїєґ") > count_of(text, U"ыэъё") ? "uk" : "ru";
  if (script == "Arabic") return count_of(text, U"پچژگ") * 50 > most->second ? "fa" : "ar";
  return script;
}

}  // namespace rluf
