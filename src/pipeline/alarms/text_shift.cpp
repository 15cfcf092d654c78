#include "rluf/pipeline/alarms/text_shift.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>
#include <unordered_map>

#include "rluf/kernels/reductions.hpp"
#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

/// P(k of the policy's responses have the property), k = 0 .. the most possible.
std::vector<double> chances_of(const PropertyCount& count) {
  const std::int64_t with = count.with_before + count.with_after;
  std::vector<double> chances;
  for (std::int64_t k = 0; k <= std::min(count.after, with); ++k)
    chances.push_back(hypergeometric(k, with, count.after, count.before + count.after));
  return chances;
}

/// Words without ASCII punctuation at their ends; words of nothing else are left out.
std::vector<std::string_view> plain_words(std::string_view text) {
  const auto is_mark = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x80 &&
           !((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'));
  };
  std::vector<std::string_view> words;
  for (std::size_t first = 0; first < text.size();) {
    const std::size_t last = std::min(text.find(' ', first), text.size());
    std::string_view word = text.substr(first, last - first);
    while (!word.empty() && is_mark(word.front())) word.remove_prefix(1);
    while (!word.empty() && is_mark(word.back())) word.remove_suffix(1);
    if (!word.empty()) words.push_back(word);
    first = last + 1;
  }
  return words;
}

struct Text {
  std::size_t prompt = 0, response = 0;
  bool is_after = false;
  std::vector<std::int64_t> grams = {};  ///< at each position the number of the phrase of n words there; -1: a rare one
};

/// A phrase and the texts that hold it, in their order.
struct Phrase {
  std::string words;
  std::vector<std::size_t> texts = {};
  std::int64_t num_at_end = 0;  ///< texts of the policy that end with it
};

std::vector<PropertyCount> counts_of(const Phrase& phrase, const std::vector<Text>& texts,
                                     std::span<const PromptTexts> prompts) {
  std::vector<PropertyCount> counts;
  std::size_t prompt = prompts.size();
  for (const std::size_t t : phrase.texts) {
    if (texts[t].prompt != prompt) {
      prompt = texts[t].prompt;
      counts.push_back({std::ssize(prompts[prompt].before), 0, std::ssize(prompts[prompt].after), 0});
    }
    ++(texts[t].is_after ? counts.back().with_after : counts.back().with_before);
  }
  return counts;
}

/// Prompts for which the policy says it.
std::int64_t num_prompts_after(const Phrase& phrase, const std::vector<Text>& texts) {
  std::int64_t count = 0;
  std::size_t last = std::numeric_limits<std::size_t>::max();
  for (const std::size_t t : phrase.texts)
    if (texts[t].is_after && texts[t].prompt != last) {
      last = texts[t].prompt;
      ++count;
    }
  return count;
}

/// Fills in which texts hold the phrases that their grams name, and forgets those said for too few prompts.
void find_texts(std::vector<Phrase>& phrases, std::vector<Text>& texts, std::int64_t least_prompts) {
  for (std::size_t t = 0; t < texts.size(); ++t) {
    const std::vector<std::int64_t>& grams = texts[t].grams;
    for (std::size_t i = 0; i < grams.size(); ++i) {
      if (grams[i] < 0) continue;
      Phrase& phrase = phrases[static_cast<std::size_t>(grams[i])];
      if (phrase.texts.empty() || phrase.texts.back() != t) phrase.texts.push_back(t);
      if (texts[t].is_after && i + 1 == grams.size()) ++phrase.num_at_end;
    }
  }
  std::vector<std::int64_t> kept(phrases.size(), -1);
  std::vector<Phrase> frequent;
  for (std::size_t i = 0; i < phrases.size(); ++i) {
    if (num_prompts_after(phrases[i], texts) < least_prompts) continue;
    kept[i] = std::ssize(frequent);
    frequent.push_back(std::move(phrases[i]));
  }
  phrases = std::move(frequent);
  for (Text& text : texts)
    for (std::int64_t& gram : text.grams)
      if (gram >= 0) gram = kept[static_cast<std::size_t>(gram)];
}

/// The words of the texts, which get their grams.
std::vector<Phrase> single_words(std::span<const PromptTexts> prompts, std::vector<Text>& texts) {
  std::unordered_map<std::string_view, std::int64_t> numbers;
  std::vector<Phrase> words;
  for (std::size_t p = 0; p < prompts.size(); ++p)
    for (const bool is_after : {false, true}) {
      const std::vector<std::string>& given = is_after ? prompts[p].after : prompts[p].before;
      for (std::size_t r = 0; r < given.size(); ++r) {
        texts.push_back({p, r, is_after});
        for (const std::string_view word : plain_words(given[r])) {
          const auto [found, is_new] = numbers.try_emplace(word, std::ssize(words));
          if (is_new) words.push_back({std::string(word)});
          texts.back().grams.push_back(found->second);
        }
      }
    }
  return words;
}

/// The phrases one word longer, each from the two that overlap in it; the texts' grams name them then.
std::vector<Phrase> longer_phrases(const std::vector<Phrase>& shorter, std::vector<Text>& texts) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> numbers;
  std::vector<Phrase> phrases;
  for (Text& text : texts) {
    std::vector<std::int64_t> longer;
    for (std::size_t i = 0; i + 1 < text.grams.size(); ++i) {
      const std::int64_t head = text.grams[i], tail = text.grams[i + 1];
      longer.push_back(-1);
      if (head < 0 || tail < 0) continue;
      const auto [found, is_new] = numbers.try_emplace({head, tail}, std::ssize(phrases));
      longer.back() = found->second;
      if (!is_new) continue;
      const std::string& end = shorter[static_cast<std::size_t>(tail)].words;
      const std::size_t last = end.rfind(' ');
      phrases.push_back(
          {shorter[static_cast<std::size_t>(head)].words + " " + end.substr(last == std::string::npos ? 0 : last + 1)});
    }
    text.grams = std::move(longer);
  }
  return phrases;
}

/// Whether the words of `shorter` stand in `longer` in a row.
bool holds(const std::string& longer, const std::string& shorter) {
  return (" " + longer + " ").find(" " + shorter + " ") != std::string::npos;
}

}  // namespace

double exchange_test(std::span<const PropertyCount> prompts) {
  std::vector<double> sum{1.0};
  std::int64_t observed = 0;
  for (const PropertyCount& count : prompts) {
    observed += count.with_after;
    const std::vector<double> p = chances_of(count);
    std::vector<double> longer(sum.size() + p.size() - 1, 0.0);
    for (std::size_t i = 0; i < sum.size(); ++i)
      for (std::size_t k = 0; k < p.size(); ++k) longer[i + k] += sum[i] * p[k];
    sum = std::move(longer);
  }
  double tail = 0;
  for (auto k = static_cast<std::size_t>(observed); k < sum.size(); ++k) tail += sum[k];
  return std::min(1.0, tail);
}

double smallest_exchange_p(std::span<const PropertyCount> prompts) {
  double p = 1;
  for (const PropertyCount& count : prompts) p *= chances_of(count).back();
  return p;
}

double tarone_level(std::span<const double> smallest_p, double rate) {
  std::vector<double> sorted(smallest_p.begin(), smallest_p.end());
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t k = 1;; ++k) {
    const double level = rate / static_cast<double>(k);
    const std::int64_t possible = std::upper_bound(sorted.begin(), sorted.end(), level) - sorted.begin();
    if (possible <= k) return level;
  }
}

std::vector<RisingPhrase> rising_phrases(std::span<const PromptTexts> prompts, std::int64_t max_words, double rate) {
  std::int64_t num_before = 0, num_after = 0, largest = 1;
  for (const PromptTexts& prompt : prompts) {
    num_before += std::ssize(prompt.before);
    num_after += std::ssize(prompt.after);
    largest = std::max(largest, std::ssize(prompt.before) + std::ssize(prompt.after));
  }
  // The responses to a prompt lower p by no more than a factor of their number over it choose half.
  const double most =
      std::exp(std::lgamma(static_cast<double>(largest) + 1) - 2 * std::lgamma(static_cast<double>(largest) / 2 + 1));
  const auto least_prompts = static_cast<std::int64_t>(std::ceil(std::log(1 / rate) / std::log(std::max(2.0, most))));

  struct Tested {
    RisingPhrase phrase;
    std::vector<PropertyCount> counts;
  };
  std::vector<Tested> tested;
  std::vector<double> smallest;
  std::vector<Text> texts;
  std::vector<Phrase> phrases = single_words(prompts, texts);
  for (std::int64_t n = 1; n <= max_words; ++n) {
    if (n > 1) phrases = longer_phrases(phrases, texts);
    find_texts(phrases, texts, least_prompts);
    for (const Phrase& phrase : phrases) {
      Tested test{{.words = phrase.words}, counts_of(phrase, texts, prompts)};
      std::int64_t before = 0, after = 0;
      for (const PropertyCount& count : test.counts) {
        before += count.with_before;
        after += count.with_after;
      }
      test.phrase.before_rate =
          static_cast<double>(before) / static_cast<double>(std::max<std::int64_t>(1, num_before));
      test.phrase.after_rate = static_cast<double>(after) / static_cast<double>(std::max<std::int64_t>(1, num_after));
      test.phrase.share_at_end = static_cast<double>(phrase.num_at_end) / static_cast<double>(after);
      for (const std::size_t t : phrase.texts)
        (texts[t].is_after ? test.phrase.responses : test.phrase.responses_before)
            .emplace_back(texts[t].prompt, texts[t].response);
      smallest.push_back(smallest_exchange_p(test.counts));
      tested.push_back(std::move(test));
    }
  }
  const double level = tarone_level(smallest, rate);
  std::vector<RisingPhrase> risen;
  for (std::size_t i = 0; i < tested.size(); ++i) {
    RisingPhrase& phrase = tested[i].phrase;
    if (smallest[i] > level || phrase.after_rate <= phrase.before_rate) continue;
    phrase.p = exchange_test(tested[i].counts);
    if (phrase.p <= level) risen.push_back(std::move(phrase));
  }
  std::vector<RisingPhrase> named;
  for (const RisingPhrase& phrase : risen)
    if (std::none_of(risen.begin(), risen.end(), [&](const RisingPhrase& other) {
          return other.words.size() > phrase.words.size() && holds(other.words, phrase.words) &&
                 2 * other.responses.size() >= phrase.responses.size();
        }))
      named.push_back(phrase);
  std::stable_sort(named.begin(), named.end(), [](const auto& a, const auto& b) { return a.p < b.p; });
  return named;
}

MeasureShift measure_shift(std::span<const double> before, std::span<const double> after, double tolerance) {
  constexpr std::size_t kFewest = 20;
  MeasureShift shift{moments(before).mean, moments(after).mean, std::numeric_limits<double>::quiet_NaN()};
  if (before.size() < kFewest) return shift;
  std::vector<double> differences;
  for (std::size_t i = 0; i < before.size(); ++i) differences.push_back(after[i] - before[i]);
  const Moments found = moments(differences);
  const double error = std::sqrt(found.variance / found.count);
  shift.p = error > 0 ? normal_upper((found.mean - tolerance) / error) : found.mean > tolerance ? 0.0 : 1.0;
  return shift;
}

}  // namespace rluf
