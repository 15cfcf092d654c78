#pragma once
/// What can be read off a text without a model; pure functions, any bytes are allowed.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

/// Lower case (ASCII, Latin-1, Greek, Cyrillic) with every run of white space as one space, none at the ends.
std::string normalized_text(std::string_view text);
/// Parts between commas, normalised; empty ones are left out.
std::vector<std::string> phrase_list(std::string_view commas);
/// Whether a normalised text holds a normalised phrase, not in the middle of a longer ASCII word.
bool contains_phrase(std::string_view normalized, std::string_view phrase);
bool contains_any(std::string_view normalized, const std::vector<std::string>& phrases);

/// Words between white space.
std::int64_t count_words(std::string_view normalized);
/// Share of different word n-grams among all; 1 where there are none. @unit 0..1
double distinct_ngrams(std::string_view normalized, std::int64_t n);
/// 1 - distinct_ngrams: how much of a text says itself again. @unit 0..1
double repetition_share(std::string_view normalized, std::int64_t n);
/// Whether the last character is complete UTF-8 (a cut in the middle of a character leaves half of one).
bool ends_in_whole_character(std::string_view text);

}  // namespace rluf
