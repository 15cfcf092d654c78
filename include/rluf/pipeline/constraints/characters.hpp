#pragma once
/// Characters of a text and what they are: pure functions, any bytes are allowed. Case is known for Latin (ASCII,
/// Latin-1), Greek and Cyrillic letters; letters of other scripts have none.
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

/// Code points of UTF-8; a byte that is none becomes U+FFFD.
std::u32string code_points(std::string_view utf8);
/// Lower case of a character; others stay.
char32_t lower_of(char32_t character);
std::u32string lower_of(std::u32string text);
bool is_upper(char32_t character);
bool is_lower(char32_t character);
/// White space as Unicode has it.
bool is_space(char32_t character);
/// Letters, digits and the underscore. Beyond Latin, Greek and Cyrillic: all but known blocks of punctuation and signs.
bool is_word(char32_t character);
/// At least one letter with case, and all of them upper (lower) case.
bool all_upper(std::u32string_view text);
bool all_lower(std::u32string_view text);

/// Without white space at the ends.
std::u32string_view stripped(std::u32string_view text);
/// Parts between separators, empty ones included.
std::vector<std::u32string_view> split(std::u32string_view text, std::u32string_view separator);
/// Longest runs of is_word().
std::vector<std::u32string_view> words_of(std::u32string_view text);
/// Parts between white space.
std::vector<std::u32string_view> tokens_of(std::u32string_view text);
/// How often `part` occurs, without overlaps.
std::size_t occurrences(std::u32string_view text, std::u32string_view part);

}  // namespace rluf
