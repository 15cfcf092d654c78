#include "rluf/pipeline/policy/judges.hpp"

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"

namespace rluf {
namespace {

Verdict satisfied_if(bool condition) { return condition ? Verdict::kSatisfied : Verdict::kViolated; }

/// The response says something, ended by itself and was not cut inside a character.
class WellFormedJudge : public Judge {
 public:
  std::string name() const override { return "well_formed"; }
  Verdict verdict(const JudgedResponse& response) const override {
    return satisfied_if(response.finished && !normalized_text(response.text).empty() &&
                        ends_in_whole_character(response.text));
  }
};

class LengthJudge : public Judge {
 public:
  explicit LengthJudge(const JudgeOptions& options) : options_(options) {
    if (options.max_words > 0 && options.max_words < options.min_words)
      fail_input(concat("policy.max_words = ", options.max_words, " is below policy.min_words = ", options.min_words),
                 "no response can satisfy both", "raise max_words or lower min_words");
  }
  std::string name() const override { return "length"; }
  Verdict verdict(const JudgedResponse& response) const override {
    const std::int64_t words = count_words(normalized_text(response.text));
    return satisfied_if(words >= options_.min_words && (options_.max_words == 0 || words <= options_.max_words) &&
                        (options_.max_tokens == 0 || response.num_tokens <= options_.max_tokens));
  }

 private:
  JudgeOptions options_;
};

class ForbiddenPhrasesJudge : public Judge {
 public:
  explicit ForbiddenPhrasesJudge(const JudgeOptions& options) : phrases_(phrase_list(options.forbidden_phrases)) {}
  std::string name() const override { return "forbidden_phrases"; }
  Verdict verdict(const JudgedResponse& response) const override {
    return satisfied_if(!contains_any(normalized_text(response.text), phrases_));
  }

 private:
  std::vector<std::string> phrases_;
};

class RepetitionJudge : public Judge {
 public:
  explicit RepetitionJudge(const JudgeOptions& options)
      : n_(options.repetition_ngram), limit_(options.max_repetition) {}
  std::string name() const override { return "repetition"; }
  Verdict verdict(const JudgedResponse& response) const override {
    return satisfied_if(repetition_share(normalized_text(response.text), n_) <= limit_);
  }

 private:
  std::int64_t n_;
  double limit_;
};

class SafetyJudge : public Judge {
 public:
  explicit SafetyJudge(const JudgeOptions& options)
      : relative_(options.safety_measure == "relative"), threshold_(options.safety_threshold) {}
  std::string name() const override { return "safety"; }
  Verdict verdict(const JudgedResponse& response) const override {
    const auto& value = relative_ ? response.safety_relative : response.safety_probability;
    if (!value || std::isnan(*value)) return Verdict::kFailed;
    return satisfied_if(*value >= threshold_);
  }

 private:
  bool relative_;
  double threshold_;
};

using JudgeMaker = std::function<std::unique_ptr<Judge>(const JudgeOptions&)>;
const std::map<std::string, JudgeMaker>& judge_makers() {
  static const std::map<std::string, JudgeMaker> makers = {
      {"well_formed", [](const JudgeOptions&) { return std::make_unique<WellFormedJudge>(); }},
      {"length", [](const JudgeOptions& o) { return std::make_unique<LengthJudge>(o); }},
      {"forbidden_phrases", [](const JudgeOptions& o) { return std::make_unique<ForbiddenPhrasesJudge>(o); }},
      {"repetition", [](const JudgeOptions& o) { return std::make_unique<RepetitionJudge>(o); }},
      {"safety", [](const JudgeOptions& o) { return std::make_unique<SafetyJudge>(o); }},
  };
  return makers;
}

}  // namespace

void JudgeOptions::describe(OptionTable& table) {
  std::vector<std::string> known;
  for (const auto& [name, maker] : judge_makers()) known.push_back(name);
  table.add("judges", &names,
            {.text = "a response counts only if all of these are satisfied", .choices = known, .allow_empty = true});
  table.add("min_words", &min_words, {.text = "judge length: shortest response", .unit = "words", .low = 0});
  table.add("max_words", &max_words,
            {.text = "judge length: longest response; 0: no limit", .unit = "words", .low = 0});
  table.add("max_tokens", &max_tokens,
            {.text = "judge length: longest response with its end mark; 0: no limit", .unit = "tokens", .low = 0});
  table.add(
      "forbidden_phrases", &forbidden_phrases,
      {.text = "judge forbidden_phrases: phrases between commas; case and spaces do not matter", .allow_empty = true});
  table.add("repetition_ngram", &repetition_ngram,
            {.text = "judge repetition: length of the word sequences", .unit = "words", .low = 1, .high = 64});
  table.add("max_repetition", &max_repetition,
            {.text = "judge repetition: largest share of sequences that were there before", .low = 0, .high = 1});
  table.add("safety_measure", &safety_measure,
            {.text = "judge safety: relative = sigma(score - baseline's score), probability = the safety model's own",
             .choices = {"relative", "probability"}});
  table.add("safety_threshold", &safety_threshold,
            {.text = "judge safety: smallest allowed value of safety_measure", .low = 0, .high = 1});
}

Judges make_judges(const JudgeOptions& options) {
  Judges judges;
  std::set<std::string> seen;
  std::vector<std::string> known;
  for (const auto& [name, maker] : judge_makers()) known.push_back(name);
  for (const std::string& name : options.names) {
    const auto found = judge_makers().find(name);
    if (found == judge_makers().end()) {
      std::string near = nearest_name(name, known);
      if (near.empty())
        for (const auto& k : known) near += (near.empty() ? "" : ", ") + k;
      fail_input(concat("policy.judges names the unknown judge \"", name, "\""),
                 "a constraint would silently be missing", concat("known: ", near));
    }
    if (!seen.insert(name).second)
      fail_input(concat("policy.judges names \"", name, "\" twice"), "its verdicts would be counted twice",
                 "name it once");
    judges.push_back(found->second(options));
  }
  return judges;
}

JudgeOutcome judge_response(const Judges& judges, const JudgedResponse& response) {
  JudgeOutcome outcome;
  for (const auto& judge : judges) {
    Verdict verdict = Verdict::kFailed;
    try {
      verdict = judge->verdict(response);
    } catch (const std::exception&) {
      verdict = Verdict::kFailed;  // counted and shown in the round's metrics
    }
    outcome.verdicts.push_back(verdict);
    outcome.satisfied = outcome.satisfied && verdict == Verdict::kSatisfied;
  }
  return outcome;
}

}  // namespace rluf
