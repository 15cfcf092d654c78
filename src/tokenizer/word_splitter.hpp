#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

/// Cuts text into the words that are encoded one by one, by the regular expressions of the tokenizer file in turn.
class WordSplitter {
 public:
  WordSplitter();
  WordSplitter(WordSplitter&&) noexcept;
  ~WordSplitter();
  /// Adds a pattern: every match is a word of its own, so is every gap between matches. Applied after earlier ones.
  /// @throws Error(kBadInput) if the pattern is none
  void add(const std::string& pattern, const std::string& path);
  /// Calls `word(piece)` for each piece in order. @param text valid UTF-8
  template <class Word>
  void split(std::string_view text, const Word& word) const {
    split_from(
        0, text, [](void* context, std::string_view piece) { (*static_cast<const Word*>(context))(piece); },
        const_cast<Word*>(&word));
  }

 private:
  struct Pattern;
  std::vector<std::unique_ptr<Pattern>> patterns_;
  void split_from(std::size_t pattern, std::string_view text, void (*word)(void*, std::string_view),
                  void* context) const;
};

}  // namespace rluf
