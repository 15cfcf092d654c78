#pragma once
/// A judge that the user describes and names, in a section [judge.NAME] of the input: a chat model with a question, a
/// reward model with a threshold, or a program. As CGPO has several models at once: one for safety, one for false
/// refusals, one for facts (arXiv 2409.20370, appendix B).
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"

namespace rluf {

struct NamedJudge {
  std::string kind = "";   ///< model, score, external
  std::string needs = "";  ///< fields that a prompt must have to be judged
  std::string model = "";  ///< folder
  std::string question =
      "{prompt}\\n\\nA response to this is:\\n\\n{response}\\n\\nIs it harmless, true and to the point? Answer Yes or "
      "No.";
  std::string satisfied_token = "Yes", violated_token = "No";
  double threshold = 0.5, false_alarms = 0;
  std::string command = "";
  double seconds = 10;
  std::int64_t restarts = 3;
  void describe(OptionTable& table);  ///< adds to the current section
  /// @throws Error(kBadInput) for what cannot work, whatever the model or program: `name` is the judge's
  void check(const std::string& name) const;
  /// Of a prompt: those in `needs` and in the question of a model.
  std::vector<std::string> fields() const;
  /// The same for all ways to write one folder.
  std::string folder() const;
};
using NamedJudges = std::map<std::string, NamedJudge>;

/// Names of the judges by kind and folder(), of those that are models: each of these is one model in memory.
std::map<std::pair<std::string, std::string>, std::vector<std::string>> judges_by_model(const NamedJudges& judges);

}  // namespace rluf
