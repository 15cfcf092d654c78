#include "rluf/pipeline/signals/sentiment.hpp"

#include <set>
#include <string_view>
#include <vector>

namespace rluf {
namespace {

/// What comes later is the next request, whose words are about its subject.
constexpr std::size_t kReactionWords = 20;
constexpr std::size_t kNegationReach = 3;

const std::set<std::string_view>& praise() {
  static const std::set<std::string_view> words{
      "amazing",    "appreciate", "appreciated", "awesome", "brilliant", "correct", "excellent", "exactly",
      "fantastic",  "glad",       "great",       "helped",  "helpful",   "helps",   "impressed", "impressive",
      "incredible", "liked",      "love",        "loved",   "lovely",    "nice",    "perfect",   "perfectly",
      "superb",     "thank",      "thankful",    "thanks",  "thx",       "ty",      "useful",    "wonderful",
      "wow",        "works",      "worked",      "yay",     "good"};
  return words;
}

const std::set<std::string_view>& complaint() {
  static const std::set<std::string_view> words{
      "awful",         "bad",        "boring",     "broken",     "confused",   "confusing", "disappointed",
      "disappointing", "error",      "errors",     "fail",       "failed",     "fails",     "false",
      "horrible",      "inaccurate", "incomplete", "incorrect",  "irrelevant", "mistake",   "mistakes",
      "misunderstood", "nonsense",   "poor",       "repetitive", "ridiculous", "stupid",    "terrible",
      "unhelpful",     "useless",    "vague",      "worse",      "worst",      "wrong"};
  return words;
}

bool is_negation(std::string_view word) {
  static const std::set<std::string_view> words{"not",  "no",    "never", "without", "hardly", "barely", "dont",
                                                "isnt", "wasnt", "cant",  "didnt",   "doesnt", "wont",   "cannot"};
  return words.contains(word) || word.ends_with("n't");
}

/// Lower-case words of letters and apostrophes; a mark that ends a clause becomes a word of its own.
std::vector<std::string> words_of_message(const std::string& message) {
  std::vector<std::string> words(1);
  for (std::size_t i = 0; i < message.size() && words.size() <= kReactionWords; ++i) {
    const char c = message[i];
    const bool curly = message.compare(i, 3, "\u2019") == 0;  // the typographic apostrophe
    if (c >= 'A' && c <= 'Z') {
      words.back() += static_cast<char>(c - 'A' + 'a');
    } else if ((c >= 'a' && c <= 'z') || (c == '\'' && !words.back().empty())) {
      words.back() += c;
    } else if (curly) {
      words.back() += '\'';
      i += 2;
    } else {
      if (!words.back().empty()) words.emplace_back();
      if (c == '.' || c == ',' || c == ';' || c == '!' || c == '?' || c == '\n') {
        words.back() += '.';
        words.emplace_back();
      }
    }
  }
  return words;
}

}  // namespace

int sentiment_of(const std::string& message) {
  int score = 0;
  std::size_t since_negation = kNegationReach + 1;
  for (const std::string& word : words_of_message(message)) {
    if (word.empty()) continue;
    if (is_negation(word)) {
      since_negation = 0;
      continue;
    }
    ++since_negation;
    if (word == ".") since_negation = kNegationReach + 1;
    const int tone = praise().contains(word) ? 1 : complaint().contains(word) ? -1 : 0;
    score += since_negation <= kNegationReach ? -tone : tone;
  }
  return score > 0 ? 1 : score < 0 ? -1 : 0;
}

}  // namespace rluf
