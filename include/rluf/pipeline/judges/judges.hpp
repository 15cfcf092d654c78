#pragma once
/// Judges: each says whether a response keeps one constraint. A response counts only if every judge is satisfied.
///
/// To add a judge that looks at a response alone: write its class, its options in JudgeOptions, one line in
/// `rule_judge_makers()` of rule_judges.cpp, and cases in tests/judges/judges_test.cpp. Nothing else knows the names.
/// Judges that are models or programs are those that users name (named_judge.hpp); a kind of them is its class, its
/// options in NamedJudge and a line in `named_judge()` of judges.cpp.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/pipeline/constraints/constraints.hpp"
#include "rluf/pipeline/judges/named_judge.hpp"
#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

enum class Verdict {
  kSatisfied,
  kViolated,
  kFailed,   ///< the judge could not decide; never counts as satisfied
  kNotAsked  ///< the prompt sets no such constraint; does not stand in the way of satisfied
};

/// What a judge may look at.
struct JudgedResponse {
  const std::vector<Message>* prompt = nullptr;
  std::string text;
  bool finished = false;  ///< ended by a stop token, not by length
  std::int64_t num_tokens = 0;
  std::optional<double> safety_probability;  ///< of the safety model by its own calibration
  std::optional<double> safety_relative;     ///< sigma(r(a) - r(a_bar)) of the safety model
  const Constraints* constraints = nullptr;  ///< of the prompt; none: it sets no constraints
};

class Judge {
 public:
  virtual ~Judge() = default;
  virtual std::string name() const = 0;
  /// One verdict a response. @collective all ranks of the judge's communicator, with equal responses; equal on all
  virtual std::vector<Verdict> verdicts(const std::vector<JudgedResponse>& responses) const = 0;
  /// Whether a prompt with these constraints is judged at all.
  virtual bool asks(const Constraints&) const { return true; }
};
using Judges = std::vector<std::unique_ptr<Judge>>;

/// A judge that looks at one response at a time, without anybody's help. A std::exception counts as kFailed.
class RuleJudge : public Judge {
 public:
  virtual Verdict verdict(const JudgedResponse& response) const = 0;
  std::vector<Verdict> verdicts(const std::vector<JudgedResponse>& responses) const final;
};

struct JudgeOptions {
  std::vector<std::string> names = {"well_formed", "length", "forbidden_phrases", "repetition", "safety"};
  std::vector<std::string> watching = {};  ///< whose verdicts choose nothing
  std::string task_judges = "";            ///< task_judges.hpp
  std::int64_t min_words = 1, max_words = 0, max_tokens = 0;
  std::string forbidden_phrases = "";
  std::int64_t repetition_ngram = 4;
  double max_repetition = 0.5;
  std::string safety_measure = "relative";
  double safety_threshold = 0.2;
  NamedJudges named = {};                   ///< sections [judge.NAME]; only those that are named above judge
  void describe(OptionTable& table);        ///< adds to the current section, without those of `named`
  bool has(const std::string& name) const;  ///< among those that choose or those that watch
  /// Those of `named` that judge.
  NamedJudges used() const;
  /// @throws Error(kBadInput) for what make_judges() refuses, and a missing program or option of a judge
  void check() const;
};

/// A number for each response; nothing where there can be none. @collective all ranks of the stage, equal on all
using ResponseMeasure = std::function<std::vector<std::optional<double>>(const std::vector<JudgedResponse>&)>;

/// What judges get from the stage that asks them.
struct JudgeTools {
  Communicator comm = Communicator::self();         ///< of the ranks that judge together
  std::string closing_phrases, refusal_phrases;     ///< between commas, for the judges closing and refusal
  std::map<std::string, ResponseMeasure> measures;  ///< of the judges that are models, by name (model_judges.hpp)
  std::map<std::string, double> thresholds;         ///< fitted, in place of the option, by name
};

/// Without a side effect: programs start, and models are asked, with the first verdict.
/// @throws Error(kBadInput) for an unknown or repeated name, limits in contradiction, a missing program
Judges make_judges(const JudgeOptions& options, const JudgeTools& tools = {});
/// The same of those that watch.
Judges make_watching_judges(const JudgeOptions& options, const JudgeTools& tools = {});

/// Logs of how many prompts a judge does not ask all.
/// @throws Error(kBadInput) if a judge is named of which no prompt asks anything, or a task of which no prompt is
void check_judges_are_asked(const Judges& judges, const JudgeOptions& options,
                            const std::vector<const Constraints*>& prompts);

struct JudgeOutcome {
  bool satisfied = true;          ///< no judge violated or failed (AND); true without judges
  std::vector<Verdict> verdicts;  ///< one a judge
};
/// @collective as the judges; one outcome a response
std::vector<JudgeOutcome> judge_responses(const Judges& judges, const std::vector<JudgedResponse>& responses);

}  // namespace rluf
