#include "rluf/pipeline/judges/named_judge.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/constraints/constraints.hpp"

namespace rluf {
namespace {

/// Kinds that look at an option.
const std::map<std::string, std::vector<std::string>>& kinds_of_options() {
  static const std::map<std::string, std::vector<std::string>> kinds = {
      {"model", {"model", "score"}}, {"question", {"model"}},           {"satisfied_token", {"model"}},
      {"violated_token", {"model"}}, {"threshold", {"model", "score"}}, {"false_alarms", {"score"}},
      {"command", {"external"}},     {"seconds", {"external"}},         {"restarts", {"external"}}};
  return kinds;
}

}  // namespace

void NamedJudge::describe(OptionTable& table) {
  table.add("kind", &kind,
            {.text = "model: a chat model that is asked a question; score: a reward model; external: a program that "
                     "reads and writes JSON lines (see the README)",
             .choices = {"model", "score", "external"}});
  table.add("needs", &needs,
            {.text = "fields that a prompt must have to be judged, between spaces, as in: answer metadata.source",
             .allow_empty = true});
  table.add("model", &model,
            {.text = "model, score: folder of a chat model, or of a reward model as the reward stage makes them; "
                     "judges of one folder share it",
             .allow_empty = true});
  table.add(
      "question", &question,
      {.text = "model: what it is asked; {prompt}, {response} and fields of the prompt, as {answer} or "
               "{metadata.NAME}, are filled in, and \\n is a new line; only prompts with these fields are judged"});
  table.add("satisfied_token", &satisfied_token,
            {.text = "model: how its reply begins if the response keeps the constraint; one token"});
  table.add("violated_token", &violated_token, {.text = "model: how its reply begins if it does not; one token"});
  table.add("threshold", &threshold,
            {.text = "smallest value that satisfies; model: P(satisfied) / (P(satisfied) + P(violated)), score: the "
                     "calibrated probability",
             .low = 0,
             .high = 1});
  table.add("false_alarms", &false_alarms,
            {.text = "score: share of good responses that it may call violated; the threshold is then fitted on the "
                     "held-out preferred responses of the model's objective. 0: threshold counts",
             .low = 0,
             .high = 0.5});
  table.add("command", &command,
            {.text = "external: the program and its arguments, started without a shell", .allow_empty = true});
  table.add("seconds", &seconds,
            {.text = "external: longest time for a response, which then counts as failed",
             .unit = "seconds",
             .low = 0.01,
             .high = 86400});
  table.add("restarts", &restarts,
            {.text = "external: restarts of the program within a round, after which the rest of the round fails",
             .low = 0,
             .high = 1e6});
}

void NamedJudge::check(const std::string& name) const {
  const std::string section = concat("judge.", name, ".");
  if (kind.empty())
    fail_input(concat(section, "kind is empty"), "it says what judges", "write kind = model, score or external");
  NamedJudge given = *this;
  OptionTable mine, defaults;
  NamedJudge unchanged;
  given.describe(mine.section("judge", ""));
  unchanged.describe(defaults.section("judge", ""));
  for (std::size_t i = 0; i < mine.entries().size(); ++i) {
    const OptionTable::Entry& entry = mine.entries()[i];
    const auto kinds = kinds_of_options().find(entry.key);
    if (kinds == kinds_of_options().end() || entry.default_value == defaults.entries()[i].default_value) continue;
    if (std::find(kinds->second.begin(), kinds->second.end(), kind) == kinds->second.end())
      fail_input(concat(section, entry.key, " is set, but its kind is ", kind), "it would not be looked at",
                 "leave it out, or choose another kind");
  }
  if (kind == "external" && command.empty())
    fail_input(section + "command is empty", "the judge has no program", "name the program and its arguments");
  if (kind != "external" && model.empty())
    fail_input(section + "model is empty", "the judge has no model", "name a model folder");
  std::istringstream names(needs);
  for (std::string field; names >> field;)
    if (!is_field(field))
      fail_input(concat(section, "needs names ", field), "prompts have no such field",
                 "name answer, language, task, json_schema, instructions or metadata.NAME");
  if (kind != "model") return;
  if (question.find("{response}") == std::string::npos)
    fail_input(section + "question has no {response}", "the model would not see what it judges",
               "put {response} where the response belongs");
  if (satisfied_token == violated_token)
    fail_input(concat(section, "satisfied_token and violated_token are the same"),
               "every response would be as likely satisfied as violated", "choose two words");
}

std::string NamedJudge::folder() const { return std::filesystem::weakly_canonical(model).string(); }

std::map<std::pair<std::string, std::string>, std::vector<std::string>> judges_by_model(const NamedJudges& judges) {
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> by_model;
  for (const auto& [name, judge] : judges)
    if (judge.kind != "external") by_model[{judge.kind, judge.folder()}].push_back(name);
  return by_model;
}

std::vector<std::string> NamedJudge::fields() const {
  std::vector<std::string> fields;
  std::istringstream names(needs);
  for (std::string field; names >> field;) fields.push_back(field);
  if (kind != "model") return fields;
  for (std::size_t open = question.find('{'); open != std::string::npos; open = question.find('{', open + 1))
    if (const std::size_t close = question.find('}', open); close != std::string::npos)
      if (const std::string field = question.substr(open + 1, close - open - 1); is_field(field))
        fields.push_back(field);
  return fields;
}

}  // namespace rluf
