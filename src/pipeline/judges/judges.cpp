#include "rluf/pipeline/judges/judges.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/judges/external_judge.hpp"
#include "rluf/pipeline/judges/model_judges.hpp"
#include "rluf/pipeline/judges/task_judges.hpp"
#include "rule_judges.hpp"

namespace rluf {
namespace {

std::unique_ptr<Judge> named_judge(const std::string& name, const NamedJudge& judge, const JudgeTools& tools) {
  if (judge.kind == "external") return std::make_unique<ExternalJudge>(name, judge, tools.comm);
  const auto measure = tools.measures.find(name);  // none while options are only checked
  const auto fitted = tools.thresholds.find(name);
  return std::make_unique<ThresholdJudge>(name, fitted == tools.thresholds.end() ? judge.threshold : fitted->second,
                                          measure == tools.measures.end() ? ResponseMeasure() : measure->second);
}

[[noreturn]] void fail_unknown(const std::string& name, const JudgeOptions& options) {
  std::vector<std::string> known;
  for (const auto& [rule, maker] : rule_judge_makers()) known.push_back(rule);
  for (const auto& [own, judge] : options.named) known.push_back(own);
  std::string near = nearest_name(name, known);
  if (near.empty())
    for (const std::string& one : known) near += (near.empty() ? "" : ", ") + one;
  fail_input(concat("policy.judges or watching_judges names the unknown judge \"", name, "\""),
             "a constraint would silently be missing",
             concat("known: ", near, "; models and programs are described by a section [judge.", name, "]"));
}

}  // namespace

std::vector<Verdict> RuleJudge::verdicts(const std::vector<JudgedResponse>& responses) const {
  std::vector<Verdict> all;
  for (const JudgedResponse& response : responses) {
    Verdict one = Verdict::kFailed;
    try {
      one = verdict(response);
    } catch (const std::exception&) {
      one = Verdict::kFailed;  // counted and shown in the round's metrics
    }
    all.push_back(one);
  }
  return all;
}

bool JudgeOptions::has(const std::string& name) const {
  return std::find(names.begin(), names.end(), name) != names.end() ||
         std::find(watching.begin(), watching.end(), name) != watching.end();
}

NamedJudges JudgeOptions::used() const {
  NamedJudges used;
  for (const auto& [name, judge] : named)
    if (has(name)) used[name] = judge;
  return used;
}

void JudgeOptions::describe(OptionTable& table) {
  std::string known;
  for (const auto& [name, maker] : rule_judge_makers()) known += (known.empty() ? "" : ", ") + name;
  table.add("judges", &names,
            {.text = concat("a response counts only if all of these are satisfied: rules (", known,
                            ") and the names of sections [judge.NAME]"),
             .allow_empty = true});
  table.add("watching_judges", &watching,
            {.text = "judges, not of those above, that look at every response and choose none: an alarm says when "
                     "policies learn to pass the others and not these",
             .allow_empty = true});
  table.add(
      "task_judges", &task_judges,
      {.text = "judges of a task, among those of policy.judges, as in: math: length answer; chat: length safety. A "
               "prompt's task is its field task; one that is not listed has all judges",
       .allow_empty = true});
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

Judges make_judges(const JudgeOptions& options, const JudgeTools& tools) {
  Judges judges;
  std::set<std::string> seen;
  const TaskJudges tasks = read_task_judges(options.task_judges, options.names);
  for (const std::string& name : options.names) {
    const auto rule = rule_judge_makers().find(name);
    const auto named = options.named.find(name);
    if (rule == rule_judge_makers().end() && named == options.named.end()) fail_unknown(name, options);
    if (!seen.insert(name).second)
      fail_input(concat("policy.judges names \"", name, "\" twice"), "its verdicts would be counted twice",
                 "name it once");
    if (rule != rule_judge_makers().end()) {
      judges.push_back(for_its_prompts(rule->second(options, tools), tasks, {}));
    } else {
      judges.push_back(for_its_prompts(named_judge(name, named->second, tools), tasks, named->second.fields()));
    }
  }
  return judges;
}

Judges make_watching_judges(const JudgeOptions& options, const JudgeTools& tools) {
  for (const std::string& name : options.watching)
    if (std::find(options.names.begin(), options.names.end(), name) != options.names.end())
      fail_input(concat("policy.watching_judges names \"", name, "\", which is of policy.judges"),
                 "what a response is chosen by cannot watch the choice", "leave it out of one of them");
  JudgeOptions watching = options;
  watching.names = options.watching;
  watching.task_judges.clear();
  return make_judges(watching, tools);
}

void JudgeOptions::check() const {
  for (const auto& [name, judge] : named) {
    if (rule_judge_makers().contains(name))
      fail_input(concat("the section [judge.", name, "] has the name of a rule"),
                 "it is unclear which of the two judges is meant", "call it otherwise");
    judge.check(name);
  }
  make_judges(*this);
  make_watching_judges(*this);
}

void check_judges_are_asked(const Judges& judges, const JudgeOptions& options,
                            const std::vector<const Constraints*>& prompts) {
  for (const auto& [task, names] : read_task_judges(options.task_judges, options.names))
    if (std::none_of(prompts.begin(), prompts.end(), [&](const Constraints* c) { return c->task == task; }))
      fail_input(concat("policy.task_judges names the task ", task, ", but no prompt is of it"),
                 "its judges would judge nothing", "check the field task of the prompts, or leave it out");
  for (const auto& judge : judges) {
    const auto asked =
        std::count_if(prompts.begin(), prompts.end(), [&](const Constraints* c) { return judge->asks(*c); });
    if (asked > 0 && asked < std::ssize(prompts))
      log_info(concat("the judge ", judge->name(), " judges responses to ", asked, " of ", prompts.size(),
                      " prompts; the others are not of its tasks or lack its fields"));
    if (asked == 0)
      fail_input(concat("policy.judges names the judge ", judge->name(), ", but no prompt asks anything of it"),
                 "it would judge nothing",
                 "give the prompts its field (see the README) and run the stage dataset again, or leave the judge out");
  }
}

std::vector<JudgeOutcome> judge_responses(const Judges& judges, const std::vector<JudgedResponse>& responses) {
  std::vector<JudgeOutcome> outcomes(responses.size());
  for (const auto& judge : judges) {
    const std::vector<Verdict> verdicts = judge->verdicts(responses);
    RLUF_ASSERT(verdicts.size() == responses.size());
    for (std::size_t i = 0; i < verdicts.size(); ++i) {
      outcomes[i].verdicts.push_back(verdicts[i]);
      outcomes[i].satisfied &= verdicts[i] == Verdict::kSatisfied || verdicts[i] == Verdict::kNotAsked;
    }
  }
  return outcomes;
}

}  // namespace rluf
