#pragma once
/// The language of a text by its script and, where scripts are shared, by its most frequent words: pure functions.
/// A rule for judging whole answers. It knows the languages listed and takes any other of the same script for one of
/// them or for none; texts of a few words often stay undecided.
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

/// ISO 639-1 codes.
std::vector<std::string> known_languages();
/// One of known_languages(); empty: undecided.
std::string language_of(std::string_view text);

}  // namespace rluf
