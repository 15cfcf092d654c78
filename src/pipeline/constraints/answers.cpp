#include "rluf/pipeline/constraints/answers.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>

namespace rluf {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace), last = text.find_last_not_of(kSpace);
  return first == text.npos ? std::string_view() : text.substr(first, last + 1 - first);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower_ascii(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return lower;
}

/// What stands between the brace at `open` and the one that closes it; `end` becomes the place behind that.
std::optional<std::string_view> in_braces(std::string_view text, std::size_t open, std::size_t& end) {
  if (open >= text.size() || text[open] != '{') return {};
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
    if (depth == 0) {
      end = i + 1;
      return text.substr(open + 1, i - open - 1);
    }
  }
  return {};
}

std::optional<std::string_view> last_box(std::string_view text) {
  constexpr std::string_view kBox = "\\boxed";
  const std::size_t at = text.rfind(kBox);
  std::size_t end = 0;
  return at == text.npos ? std::nullopt : in_braces(text, at + kBox.size(), end);
}

std::optional<std::string_view> last_hash_line(std::string_view text) {
  constexpr std::string_view kMark = "####";
  for (std::size_t at = text.rfind(kMark); at != text.npos; at = at == 0 ? text.npos : text.rfind(kMark, at - 1)) {
    const std::size_t line = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 is 0
    if (!trimmed(text.substr(line, at - line)).empty()) continue;
    return text.substr(at + kMark.size(), text.find('\n', at) - at - kMark.size());
  }
  return {};
}

/// The last sentence: sentences end at a line's end, or at . ! ? before white space or the end.
std::string_view last_sentence(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \t\n\r\f\v.!?");
  if (last == text.npos) return {};
  std::size_t first = last;
  for (; first > 0; --first) {
    const char before = text[first - 1];
    const bool stop = before == '.' || before == '!' || before == '?';
    if (before == '\n' || (stop && kSpace.find(text[first]) != kSpace.npos)) break;
  }
  return text.substr(first, last + 1 - first);
}

std::optional<std::string_view> said_answer(std::string_view text) {
  const std::string_view sentence = last_sentence(text);
  const std::string lower = lower_ascii(sentence);
  std::size_t best = lower.npos, begin = 0;
  for (const std::string_view mark : {"answer is", "answer:"}) {
    const std::size_t at = lower.rfind(mark);
    if (at == lower.npos || (best != lower.npos && at < best)) continue;
    best = at;
    begin = at + mark.size();
  }
  if (best == lower.npos) return {};
  std::string_view answer = trimmed(sentence.substr(begin));
  if (answer.starts_with(':')) answer = trimmed(answer.substr(1));
  return answer;
}

/// A fraction in lowest terms. Numbers that do not fit are no numbers, so that they are compared as text.
struct Fraction {
  std::int64_t above = 0, below = 1;
  bool operator==(const Fraction&) const = default;
};

std::optional<Fraction> reduced(std::int64_t above, std::int64_t below) {
  if (below == 0) return {};
  const std::int64_t divisor = std::gcd(above, below), sign = below < 0 ? -1 : 1;
  return Fraction{sign * above / divisor, sign * below / divisor};
}

std::optional<Fraction> decimal(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  std::int64_t above = 0, below = 1;
  bool point = false, digits = false;
  for (const char c : text) {
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (!is_digit(c) || above > 100'000'000'000'000 || below > 100'000'000'000'000) return {};
    digits = true;
    above = 10 * above + (c - '0');
    if (point) below *= 10;
  }
  return digits ? reduced(negative ? -above : above, below) : std::nullopt;
}

std::optional<Fraction> ratio(std::string_view above, std::string_view below) {
  const auto a = decimal(above), b = decimal(below);
  constexpr std::int64_t kLarge = 1'000'000'000;  // whose products fit
  if (!a || !b) return {};
  for (const std::int64_t part : {a->above, a->below, b->above, b->below})
    if (part > kLarge || part < -kLarge) return {};
  return reduced(a->above * b->below, a->below * b->above);
}

/// Without what does not change an answer: spaces, dollars, LaTeX's sizes and thin spaces, \text, a full stop.
std::string bare(std::string_view text) {
  std::string result = lower_ascii(text);
  const auto remove = [&](std::string_view part) {
    for (std::size_t at = result.find(part); at != result.npos; at = result.find(part, at))
      result.erase(at, part.size());
  };
  for (const std::string_view part :
       {"\\left", "\\right", "\\,", "\\!", "\\;", "\\$", "$", "**", " ", "\t", "\n", "\r"})
    remove(part);
  for (const std::string_view wrap : {"\\text", "\\mathrm", "\\boxed"})
    for (std::size_t at = result.find(wrap); at != result.npos; at = result.find(wrap, at)) {
      std::size_t end = 0;
      const auto inside = in_braces(result, at + wrap.size(), end);
      if (!inside) break;
      result.replace(at, end - at, std::string(*inside));
    }
  for (const std::string_view fraction : {"\\dfrac", "\\tfrac"})
    for (std::size_t at = result.find(fraction); at != result.npos; at = result.find(fraction)) result.erase(at + 1, 1);
  while (!result.empty() && (result.back() == '.' || result.back() == ',')) result.pop_back();
  return result;
}

/// 1,000 and 12,345,678 without their commas; anything else as it is.
std::string without_thousands(const std::string& text) {
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ',') {
      digits += text[i];
      continue;
    }
    const bool group = i > 0 && is_digit(text[i - 1]) && i + 3 < text.size() &&
                       std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                   text.begin() + static_cast<std::ptrdiff_t>(i) + 4, is_digit) &&
                       (i + 4 == text.size() || !is_digit(text[i + 4]));
    if (!group) return text;
  }
  return digits;
}

std::optional<Fraction> number(const std::string& bare_text) {
  std::string text = without_thousands(bare_text);
  for (const std::string_view percent : {"\\%", "%"})
    if (text.ends_with(percent)) {
      text.erase(text.size() - percent.size());
      break;
    }
  const bool negative = text.starts_with("-\\frac");
  const std::string_view rest = std::string_view(text).substr(negative ? 1 : 0);
  if (rest.starts_with("\\frac")) {
    std::size_t middle = 0, end = 0;
    const auto above = in_braces(rest, 5, middle);
    const auto below = above ? in_braces(rest, middle, end) : std::nullopt;
    if (!below || end != rest.size()) return {};
    auto value = ratio(*above, *below);
    if (value && negative) value->above = -value->above;
    return value;
  }
  const std::size_t slash = text.find('/');
  if (slash == text.npos) return decimal(text);
  return ratio(std::string_view(text).substr(0, slash), std::string_view(text).substr(slash + 1));
}

}  // namespace

std::optional<std::string> final_answer(std::string_view response) {
  for (const auto& find : {last_box, last_hash_line, said_answer})
    if (const auto answer = find(response); answer && !trimmed(*answer).empty()) return std::string(trimmed(*answer));
  return {};
}

bool same_answer(std::string_view one, std::string_view other) {
  const std::string a = bare(one), b = bare(other);
  if (a.empty() || b.empty()) return false;
  const auto x = number(a), y = number(b);
  return x && y ? *x == *y : a == b;
}

}  // namespace rluf
