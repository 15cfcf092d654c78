#define PCRE2_CODE_UNIT_WIDTH 8
#include "word_splitter.hpp"

#include <pcre2.h>

#include "rluf/core/error.hpp"
#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {

struct WordSplitter::Pattern {
  pcre2_code* code = nullptr;
  pcre2_match_data* match = nullptr;
  ~Pattern() {
    pcre2_match_data_free(match);
    pcre2_code_free(code);
  }
};

WordSplitter::WordSplitter() = default;
WordSplitter::WordSplitter(WordSplitter&&) noexcept = default;
WordSplitter::~WordSplitter() = default;

void WordSplitter::add(const std::string& text, const std::string& path) {
  auto pattern = std::make_unique<Pattern>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  pattern->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF | PCRE2_UCP, &error,
                                &offset, nullptr);
  if (pattern->code == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    fail_input(concat(path, ": the pattern of the pre-tokenizer is broken at ", offset, ": ",
                      reinterpret_cast<const char*>(message)),
               "text cannot be cut into words", "use the model's original tokenizer file");
  }
  pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);  // optional: without it matching is slower
  pattern->match = pcre2_match_data_create(1, nullptr);
  patterns_.push_back(std::move(pattern));
}

void WordSplitter::split_from(std::size_t index, std::string_view text, void (*word)(void*, std::string_view),
                              void* context) const {
  if (text.empty()) return;
  if (index == patterns_.size()) {
    word(context, text);
    return;
  }
  const Pattern& pattern = *patterns_[index];
  std::size_t position = 0, gap = 0;
  while (position < text.size()) {
    // The text was made valid before: checking it again in every call would cost a pass a word.
    const int found = pcre2_match(pattern.code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), position,
                                  PCRE2_NO_UTF_CHECK, pattern.match, nullptr);
    if (found < 0) break;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(pattern.match);
    const std::size_t first = bounds[0], last = bounds[1];
    if (last == first) {  // an empty match moves on by one character
      ++position;
      while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) ++position;
      continue;
    }
    split_from(index + 1, text.substr(gap, first - gap), word, context);
    split_from(index + 1, text.substr(first, last - first), word, context);
    position = gap = last;
  }
  split_from(index + 1, text.substr(gap), word, context);
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // Number of continuation bytes and the range of the first of them (Unicode standard, table 3-7).
    int more = 0;
    unsigned char low = 0x80, high = 0xBF;
    if (byte < 0x80) {
      out += text[i++];
      continue;
    } else if (byte >= 0xC2 && byte <= 0xDF) {
      more = 1;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
      more = 2;
      if (byte == 0xE0) low = 0xA0;
      if (byte == 0xED) high = 0x9F;
    } else if (byte >= 0xF0 && byte <= 0xF4) {
      more = 3;
      if (byte == 0xF0) low = 0x90;
      if (byte == 0xF4) high = 0x8F;
    }
    std::size_t length = 1;
    bool good = more > 0;
    for (int k = 0; k < more; ++k, ++length) {
      const auto next = i + length < text.size() ? static_cast<unsigned char>(text[i + length]) : 0;
      if (next < low || next > high) {
        good = false;
        break;
      }
      low = 0x80;
      high = 0xBF;
    }
    if (good) {
      out.append(text.substr(i, length));
    } else {
      out += "\xEF\xBF\xBD";
    }
    i += length;
  }
  return out;
}

}  // namespace rluf
