#include "rluf/pipeline/alarms/text_measures.hpp"

#include <algorithm>
#include <unordered_set>

#include "rluf/pipeline/constraints/characters.hpp"

namespace rluf {
namespace {

bool is_ascii_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_ascii_word(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Bytes of the white space character at `i`; 0 if there is none. Beyond ASCII: no-break and ideographic space, and the
/// typographic spaces U+2000 to U+200B.
std::size_t space_at(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0U; };
  if (is_ascii_space(static_cast<unsigned char>(text[i]))) return 1;
  if (byte(i) == 0xC2 && byte(i + 1) == 0xA0) return 2;
  if (byte(i) == 0xE3 && byte(i + 1) == 0x80 && byte(i + 2) == 0x80) return 3;
  if (byte(i) == 0xE2 && byte(i + 1) == 0x80 && byte(i + 2) >= 0x80 && byte(i + 2) <= 0x8B) return 3;
  return 0;
}

std::vector<std::string_view> parts_of(std::string_view normalized) {
  std::vector<std::string_view> words;
  for (std::size_t first = 0; first < normalized.size();) {
    const std::size_t last = std::min(normalized.find(' ', first), normalized.size());
    if (last > first) words.push_back(normalized.substr(first, last - first));
    first = last + 1;
  }
  return words;
}

}  // namespace

std::string normalized_text(std::string_view text) {
  std::string result;
  bool space = false;
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t width = space_at(text, i)) {
      space = !result.empty();
      i += width;
      continue;
    }
    if (space) result += ' ';
    space = false;
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      result += static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
      ++i;
    } else if (byte >= 0xC2 && byte <= 0xDF && i + 1 < text.size()) {
      const char32_t point = lower_of(((byte & 0x1FU) << 6) | (static_cast<unsigned char>(text[i + 1]) & 0x3FU));
      result += static_cast<char>(0xC0 | (point >> 6));
      result += static_cast<char>(0x80 | (point & 0x3FU));
      i += 2;
    } else {
      result += text[i++];
    }
  }
  return result;
}

std::vector<std::string> phrase_list(std::string_view commas) {
  std::vector<std::string> phrases;
  for (std::size_t first = 0; first <= commas.size();) {
    const std::size_t last = std::min(commas.find(',', first), commas.size());
    std::string phrase = normalized_text(commas.substr(first, last - first));
    if (!phrase.empty()) phrases.push_back(std::move(phrase));
    first = last + 1;
  }
  return phrases;
}

bool contains_phrase(std::string_view normalized, std::string_view phrase) {
  if (phrase.empty()) return false;
  const auto word_at = [&](std::string_view text, std::size_t i) {
    return is_ascii_word(static_cast<unsigned char>(text[i]));
  };
  for (std::size_t at = normalized.find(phrase); at != std::string_view::npos; at = normalized.find(phrase, at + 1)) {
    const std::size_t end = at + phrase.size();
    const bool joined_left = at > 0 && word_at(phrase, 0) && word_at(normalized, at - 1);
    const bool joined_right = end < normalized.size() && word_at(phrase, phrase.size() - 1) && word_at(normalized, end);
    if (!joined_left && !joined_right) return true;
  }
  return false;
}

bool contains_any(std::string_view normalized, const std::vector<std::string>& phrases) {
  return std::any_of(phrases.begin(), phrases.end(),
                     [&](const std::string& p) { return contains_phrase(normalized, p); });
}

std::int64_t count_words(std::string_view normalized) { return static_cast<std::int64_t>(parts_of(normalized).size()); }

double distinct_ngrams(std::string_view normalized, std::int64_t n) {
  const auto words = parts_of(normalized);
  const auto length = static_cast<std::size_t>(n);
  if (n < 1 || words.size() < length) return 1.0;
  std::unordered_set<std::string_view> seen;
  const std::size_t total = words.size() - length + 1;
  for (std::size_t i = 0; i < total; ++i) {
    const char* last = words[i + length - 1].data() + words[i + length - 1].size();
    seen.insert(std::string_view(words[i].data(), static_cast<std::size_t>(last - words[i].data())));
  }
  return static_cast<double>(seen.size()) / static_cast<double>(total);
}

double repetition_share(std::string_view normalized, std::int64_t n) { return 1.0 - distinct_ngrams(normalized, n); }

bool ends_in_whole_character(std::string_view text) {
  std::size_t continuation = 0;
  while (continuation < text.size() && continuation < 4) {
    const auto byte = static_cast<unsigned char>(text[text.size() - 1 - continuation]);
    if (byte < 0x80) return continuation == 0;
    if (byte >= 0xC0) {
      const std::size_t wanted = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
      return continuation == wanted;
    }
    ++continuation;
  }
  return text.empty();
}

}  // namespace rluf
