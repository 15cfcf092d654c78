#include "rluf/pipeline/constraints/characters.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace rluf {
namespace {

constexpr char32_t kBroken = 0xFFFD;

struct Block {
  char32_t first, last;
};

bool is_in(char32_t character, const auto& blocks) {
  return std::any_of(blocks.begin(), blocks.end(),
                     [&](const Block& block) { return block.first <= character && character <= block.last; });
}

template <class Condition>
std::vector<std::u32string_view> runs(std::u32string_view text, Condition inside) {
  std::vector<std::u32string_view> parts;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t first = i;
    while (i < text.size() && inside(text[i])) ++i;
    if (i > first) parts.push_back(text.substr(first, i - first));
    if (i == first) ++i;
  }
  return parts;
}

}  // namespace

std::u32string code_points(std::string_view utf8) {
  std::u32string result;
  result.reserve(utf8.size());
  for (std::size_t i = 0; i < utf8.size();) {
    const auto byte = static_cast<unsigned char>(utf8[i]);
    const std::size_t more = byte < 0x80 ? 0 : byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
    char32_t point = more == 0 ? byte : byte & (0x3FU >> more);
    bool whole = byte < 0x80 || (byte >= 0xC2 && byte <= 0xF4 && i + more < utf8.size());
    for (std::size_t k = 1; whole && k <= more; ++k) {
      const auto next = static_cast<unsigned char>(utf8[i + k]);
      whole = (next & 0xC0U) == 0x80;
      point = (point << 6) | (next & 0x3FU);
    }
    result += whole ? point : kBroken;
    i += whole ? more + 1 : 1;
  }
  return result;
}

char32_t lower_of(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;                       // Latin-1
  if ((c >= 0x391 && c <= 0x3A1) || (c >= 0x3A3 && c <= 0x3AB)) return c + 32;  // Greek
  if (c >= 0x410 && c <= 0x42F) return c + 32;                                  // Cyrillic
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

std::u32string lower_of(std::u32string text) {
  for (char32_t& c : text) c = lower_of(c);
  return text;
}

bool is_upper(char32_t c) { return lower_of(c) != c; }

bool is_lower(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 0xDF && c <= 0xFF && c != 0xF7) || (c >= 0x3AC && c <= 0x3CE) ||
         (c >= 0x430 && c <= 0x45F);
}

bool is_space(char32_t c) {
  static constexpr std::array<Block, 5> spaces{{{0x09, 0x0D}, {0x1C, 0x20}, {0x2000, 0x200A}, {0x2028, 0x2029}}};
  return is_in(c, spaces) || c == 0x85 || c == 0xA0 || c == 0x1680 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  static constexpr std::array<char32_t, 9> latin_signs{0xAA, 0xB2, 0xB3, 0xB5, 0xB9, 0xBA, 0xBC, 0xBD, 0xBE};
  if (c < 0xC0) return std::find(latin_signs.begin(), latin_signs.end(), c) != latin_signs.end();
  static constexpr std::array<Block, 10> others{{{0xD7, 0xD7},
                                                 {0xF7, 0xF7},
                                                 {0x2000, 0x206F},  // general punctuation
                                                 {0x20A0, 0x20CF},  // currencies
                                                 {0x2190, 0x2BFF},  // arrows, mathematics, boxes, signs
                                                 {0x3000, 0x3004},  // CJK punctuation
                                                 {0x3008, 0x303F},
                                                 {0xFE00, 0xFE6F},      // variation selectors, forms of punctuation
                                                 {0xFF00, 0xFF0F},      // full-width punctuation
                                                 {0x1F000, 0x1FAFF}}};  // pictures
  static constexpr std::array<Block, 4> wide{{{0xFF1A, 0xFF20}, {0xFF3B, 0xFF3E}, {0xFF5B, 0xFF65}, {0xFFF0, 0xFFFF}}};
  return !is_in(c, others) && !is_in(c, wide) && !is_space(c);
}

bool all_upper(std::u32string_view text) {
  return std::any_of(text.begin(), text.end(), is_upper) && std::none_of(text.begin(), text.end(), is_lower);
}

bool all_lower(std::u32string_view text) {
  return std::any_of(text.begin(), text.end(), is_lower) && std::none_of(text.begin(), text.end(), is_upper);
}

std::u32string_view stripped(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::u32string_view> split(std::u32string_view text, std::u32string_view separator) {
  std::vector<std::u32string_view> parts;
  std::size_t first = 0;
  for (std::size_t at = text.find(separator); at != text.npos; at = text.find(separator, first)) {
    parts.push_back(text.substr(first, at - first));
    first = at + separator.size();
  }
  parts.push_back(text.substr(first));
  return parts;
}

std::vector<std::u32string_view> words_of(std::u32string_view text) { return runs(text, is_word); }

std::vector<std::u32string_view> tokens_of(std::u32string_view text) {
  return runs(text, [](char32_t c) { return !is_space(c); });
}

std::size_t occurrences(std::u32string_view text, std::u32string_view part) {
  return part.empty() ? 0 : split(text, part).size() - 1;
}

}  // namespace rluf
