#include "rule_judges.hpp"

#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/constraints/answers.hpp"
#include "rluf/pipeline/constraints/json_schema.hpp"
#include "rluf/pipeline/constraints/language.hpp"

namespace rluf {
namespace {

Verdict satisfied_if(bool condition) { return condition ? Verdict::kSatisfied : Verdict::kViolated; }

/// The response says something, ended by itself and was not cut inside a character.
class WellFormedJudge : public RuleJudge {
 public:
  std::string name() const override { return "well_formed"; }
  Verdict verdict(const JudgedResponse& response) const override {
    return satisfied_if(response.finished && !normalized_text(response.text).empty() &&
                        ends_in_whole_character(response.text));
  }
};

class LengthJudge : public RuleJudge {
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

/// Violated by any phrase of a list: forbidden ones, closings, refusals.
class PhrasesJudge : public RuleJudge {
 public:
  PhrasesJudge(std::string name, const std::string& phrases) : name_(std::move(name)), phrases_(phrase_list(phrases)) {}
  std::string name() const override { return name_; }
  Verdict verdict(const JudgedResponse& response) const override {
    return satisfied_if(!contains_any(normalized_text(response.text), phrases_));
  }

 private:
  std::string name_;
  std::vector<std::string> phrases_;
};

class RepetitionJudge : public RuleJudge {
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

class SafetyJudge : public RuleJudge {
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

/// A judge of what some prompts ask.
class ConstraintJudge : public RuleJudge {
 public:
  Verdict verdict(const JudgedResponse& response) const final {
    if (response.constraints == nullptr || !asks(*response.constraints)) return Verdict::kNotAsked;
    return kept(*response.constraints, response.text);
  }
  virtual Verdict kept(const Constraints& constraints, const std::string& text) const = 0;
};

class InstructionsJudge : public ConstraintJudge {
 public:
  std::string name() const override { return "instructions"; }
  bool asks(const Constraints& constraints) const override { return !constraints.instructions.empty(); }
  Verdict kept(const Constraints& constraints, const std::string& text) const override {
    for (const Instruction& instruction : constraints.instructions)
      if (!follows(instruction, text)) return Verdict::kViolated;
    return Verdict::kSatisfied;
  }
};

/// No answer in the required form is a violation, as in CGPO.
class AnswerJudge : public ConstraintJudge {
 public:
  std::string name() const override { return "answer"; }
  bool asks(const Constraints& constraints) const override { return constraints.answer.has_value(); }
  Verdict kept(const Constraints& constraints, const std::string& text) const override {
    const auto answer = final_answer(text);
    return satisfied_if(answer && same_answer(*answer, *constraints.answer));
  }
};

class JsonJudge : public ConstraintJudge {
 public:
  std::string name() const override { return "json"; }
  bool asks(const Constraints& constraints) const override { return constraints.json_schema.has_value(); }
  Verdict kept(const Constraints& constraints, const std::string& text) const override {
    return satisfied_if(is_valid_json(text, *constraints.json_schema));
  }
};

class LanguageJudge : public ConstraintJudge {
 public:
  std::string name() const override { return "language"; }
  bool asks(const Constraints& constraints) const override { return constraints.language.has_value(); }
  Verdict kept(const Constraints& constraints, const std::string& text) const override {
    const std::string found = language_of(text);
    return found.empty() ? Verdict::kFailed : satisfied_if(found == *constraints.language);
  }
};

}  // namespace

const std::map<std::string, JudgeMaker>& rule_judge_makers() {
  using Options = const JudgeOptions&;
  using Tools = const JudgeTools&;
  static const std::map<std::string, JudgeMaker> makers = {
      {"well_formed", [](Options, Tools) { return std::make_unique<WellFormedJudge>(); }},
      {"length", [](Options o, Tools) { return std::make_unique<LengthJudge>(o); }},
      {"forbidden_phrases",
       [](Options o, Tools) { return std::make_unique<PhrasesJudge>("forbidden_phrases", o.forbidden_phrases); }},
      {"closing", [](Options, Tools t) { return std::make_unique<PhrasesJudge>("closing", t.closing_phrases); }},
      {"refusal", [](Options, Tools t) { return std::make_unique<PhrasesJudge>("refusal", t.refusal_phrases); }},
      {"repetition", [](Options o, Tools) { return std::make_unique<RepetitionJudge>(o); }},
      {"instructions", [](Options, Tools) { return std::make_unique<InstructionsJudge>(); }},
      {"answer", [](Options, Tools) { return std::make_unique<AnswerJudge>(); }},
      {"json", [](Options, Tools) { return std::make_unique<JsonJudge>(); }},
      {"language", [](Options, Tools) { return std::make_unique<LanguageJudge>(); }},
      {"safety", [](Options o, Tools) { return std::make_unique<SafetyJudge>(o); }},
  };
  return makers;
}

}  // namespace rluf
