#pragma once
/// How the texts of a policy differ from its reference's beyond chance. Pure functions: no I/O, no MPI.
/// Everything rests on one hypothesis: while the policy is still the reference, the responses to one prompt are
/// exchangeable, whoever gave them. Prompts are independent of each other, responses to the same prompt need not be.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rluf {

/// Responses to one prompt with some property.
struct PropertyCount {
  std::int64_t before = 0, with_before = 0;  ///< of the reference
  std::int64_t after = 0, with_after = 0;    ///< of the policy
};
/// P(at least so many of the responses with the property are the policy's), given how many there are of each prompt: a
/// sum of independent hypergeometric variables, exactly. With one response each it is McNemar's exact test.
/// @source Fisher 1935, "The design of experiments"; McNemar 1947
double exchange_test(std::span<const PropertyCount> prompts);
/// The smallest p that exchange_test could give for these prompts, whichever responses have the property.
double smallest_exchange_p(std::span<const PropertyCount> prompts);

/// The level for each of several exact tests, so that P(any false alarm) <= rate; tests that could never be significant
/// do not count. @source Tarone, "A modified Bonferroni method for discrete data", Biometrics 46, 1990
double tarone_level(std::span<const double> smallest_p, double rate);

/// All responses to one prompt, normalised (see normalized_text).
struct PromptTexts {
  std::vector<std::string> before, after;
};

/// Consecutive words, without punctuation at their ends, that a policy says more often than its reference.
struct RisingPhrase {
  std::string words;
  double before_rate = 0, after_rate = 0;             ///< share of the responses that hold it
  double p = 1;                                       ///< of exchange_test
  double share_at_end = 0;                            ///< of the policy's responses with it, those that end with it
  using Place = std::pair<std::size_t, std::size_t>;  ///< prompt, response
  std::vector<Place> responses, responses_before;     ///< of the policy and of the reference that hold it, ascending
};
/// Every phrase of up to `max_words` words is tested; P(a false one among the returned) <= `rate`. Of phrases that
/// contain each other the longest is named that holds at least half of the shorter one's responses. The smallest p
/// comes first.
std::vector<RisingPhrase> rising_phrases(std::span<const PromptTexts> prompts, std::int64_t max_words, double rate);

/// Change of a mean, from the differences of each prompt.
struct MeasureShift {
  double before = 0, after = 0;
  double p = 1;  ///< one-sided, that the change is not above `tolerance`; NaN below 20 prompts
};
/// By the normal approximation of the mean difference. @shape before, after [num_prompts], each prompt's mean
MeasureShift measure_shift(std::span<const double> before, std::span<const double> after, double tolerance);

}  // namespace rluf
