#pragma once
/// Judges: each says whether a response keeps one constraint. A response counts only if every judge is satisfied.
///
/// To add a judge: write its class (a file of its own if it is more than a few lines), its options in JudgeOptions, one
/// line in `judge_makers()` of judges.cpp, and cases in tests/policy/judges_test.cpp. Nothing else knows the names.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

enum class Verdict { kSatisfied, kViolated, kFailed };  ///< kFailed: the judge could not decide

/// What a judge may look at.
struct JudgedResponse {
  const std::vector<Message>* prompt = nullptr;
  std::string text;
  bool finished = false;  ///< ended by a stop token, not by length
  std::int64_t num_tokens = 0;
  std::optional<double> safety_probability;  ///< of the safety model by its own calibration
  std::optional<double> safety_relative;     ///< sigma(r(a) - r(a_bar)) of the safety model
};

class Judge {
 public:
  virtual ~Judge() = default;
  virtual std::string name() const = 0;
  virtual Verdict verdict(const JudgedResponse& response) const = 0;
};
using Judges = std::vector<std::unique_ptr<Judge>>;

struct JudgeOptions {
  std::vector<std::string> names = {"well_formed", "length", "forbidden_phrases", "repetition", "safety"};
  std::int64_t min_words = 1, max_words = 0, max_tokens = 0;
  std::string forbidden_phrases = "";
  std::int64_t repetition_ngram = 4;
  double max_repetition = 0.5;
  std::string safety_measure = "relative";
  double safety_threshold = 0.2;
  void describe(OptionTable& table);  ///< adds to the current section
};

/// @throws Error(kBadInput) for an unknown or repeated name, or limits in contradiction
Judges make_judges(const JudgeOptions& options);

struct JudgeOutcome {
  bool satisfied = true;          ///< all judges satisfied (AND); true without judges
  std::vector<Verdict> verdicts;  ///< one a judge
};
/// A judge that throws std::exception or fails counts as kFailed, never as satisfied.
JudgeOutcome judge_response(const Judges& judges, const JudgedResponse& response);

}  // namespace rluf
