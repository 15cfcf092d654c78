#include "rluf/pipeline/judges/judges.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/judges/external_judge.hpp"
#include "rluf/pipeline/judges/model_judges.hpp"
#include "rluf/pipeline/judges/task_judges.hpp"
#include "rule_judges.hpp"

namespace rluf {
namespace {

const std::map<std::string, JudgeMaker>& judge_makers() {
  static const std::map<std::string, JudgeMaker> all = [] {
    std::map<std::string, JudgeMaker> makers = rule_judge_makers();
    makers["external"] = [](const JudgeOptions& options, const JudgeTools& tools) {
      return std::make_unique<ExternalJudge>(options, tools.comm);
    };
    makers["model"] = [](const JudgeOptions& options, const JudgeTools& tools) {
      return std::make_unique<ThresholdJudge>("model", options.model_threshold, tools.model_probability);
    };
    makers["score"] = [](const JudgeOptions& options, const JudgeTools& tools) {
      return std::make_unique<ThresholdJudge>("score", tools.score_threshold.value_or(options.score_threshold),
                                              tools.score_probability);
    };
    return makers;
  }();
  return all;
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

void JudgeOptions::describe(OptionTable& table) {
  std::vector<std::string> known;
  for (const auto& [name, maker] : judge_makers()) known.push_back(name);
  table.add("judges", &names,
            {.text = "a response counts only if all of these are satisfied", .choices = known, .allow_empty = true});
  table.add("watching_judges", &watching,
            {.text = "judges, not of those above, that look at every response and choose none: an alarm says when "
                     "policies learn to pass the others and not these",
             .choices = known,
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
  table.add("external_command", &external_command,
            {.text = "judge external: a program and its arguments, which reads and writes JSON lines (see the README); "
                     "it is started without a shell",
             .allow_empty = true});
  table.add("external_seconds", &external_seconds,
            {.text = "judge external: longest time for a response, which then counts as failed",
             .unit = "seconds",
             .low = 0.01,
             .high = 86400});
  table.add("external_restarts", &external_restarts,
            {.text = "judge external: restarts of the program within a round, after which the rest of the round fails",
             .low = 0,
             .high = 1e6});
  table.add("judge_model", &model, {.text = "judge model: folder of a chat model", .allow_empty = true});
  table.add("judge_question", &model_question,
            {.text = "judge model: what it is asked; {prompt}, {response} and {answer} (the prompt's field) are filled "
                     "in, \\n is a new line"});
  table.add("judge_satisfied_token", &model_satisfied_token,
            {.text = "judge model: how its reply begins if the response keeps the constraint; one token"});
  table.add("judge_violated_token", &model_violated_token,
            {.text = "judge model: how its reply begins if it does not; one token"});
  table.add("judge_threshold", &model_threshold,
            {.text = "judge model: smallest P(satisfied) / (P(satisfied) + P(violated)) that satisfies",
             .low = 0,
             .high = 1});
  table.add("score_model", &score_model,
            {.text = "judge score: folder of a reward model, as the reward stage makes them", .allow_empty = true});
  table.add("score_threshold", &score_threshold,
            {.text = "judge score: smallest calibrated probability that satisfies", .low = 0, .high = 1});
  table.add("score_false_alarms", &score_false_alarms,
            {.text = "judge score: share of good responses that it may call violated; the threshold is then fitted on "
                     "the held-out preferred responses of the model's objective. 0: score_threshold counts",
             .low = 0,
             .high = 0.5});
}

Judges make_judges(const JudgeOptions& options, const JudgeTools& tools) {
  Judges judges;
  std::set<std::string> seen;
  std::vector<std::string> known;
  for (const auto& [name, maker] : judge_makers()) known.push_back(name);
  const TaskJudges tasks = read_task_judges(options.task_judges, options.names);
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
    judges.push_back(for_its_tasks(found->second(options, tools), tasks));
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
  check_model_judges(*this);
  make_judges(*this);
  make_watching_judges(*this);
}

void check_judges_are_asked(const Judges& judges, const JudgeOptions& options,
                            const std::vector<const Constraints*>& prompts) {
  for (const auto& [task, names] : read_task_judges(options.task_judges, options.names))
    if (std::none_of(prompts.begin(), prompts.end(), [&](const Constraints* c) { return c->task == task; }))
      fail_input(concat("policy.task_judges names the task ", task, ", but no prompt is of it"),
                 "its judges would judge nothing", "check the field task of the prompts, or leave it out");
  for (const auto& judge : judges)
    if (std::none_of(prompts.begin(), prompts.end(), [&](const Constraints* c) { return judge->asks(*c); }))
      fail_input(concat("policy.judges names the judge ", judge->name(), ", but no prompt asks anything of it"),
                 "it would judge nothing",
                 "give the prompts its field (see the README) and run the stage dataset again, or leave the judge out");
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
