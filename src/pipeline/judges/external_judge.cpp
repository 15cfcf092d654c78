#include "rluf/pipeline/judges/external_judge.hpp"

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/run_control.hpp"
#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Responses between two looks at what the world asks of the job.
constexpr std::size_t kSlice = 8;

std::unique_ptr<JudgeProgram> program_of(const std::string& command, const std::string& option) {
  std::vector<std::string> words = command_words(command);
  if (words.empty()) fail_input(option + " is empty", "the judge has no program", "name the program and its arguments");
  words[0] = find_program(words[0], option);
  return std::make_unique<JudgeProgram>(std::move(words));
}

}  // namespace

std::string external_question(std::int64_t id, const JudgedResponse& response) {
  Json question = {{"id", id}, {"prompt", Json::array()}, {"response", valid_utf8(response.text)}};
  if (response.prompt != nullptr)
    for (const Message& message : *response.prompt)
      question["prompt"].push_back({{"role", message.role}, {"content", valid_utf8(message.content)}});
  if (response.constraints != nullptr)
    if (Json constraints = to_json(*response.constraints); !constraints.empty())
      question["constraints"] = std::move(constraints);
  return question.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Verdict external_verdict(const std::string& answer, std::int64_t id, std::string& problem) {
  const Json json = Json::parse(answer, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    problem = "an answer that is no JSON object";
  } else if (!json.contains("id") || json["id"] != id) {
    problem = concat("an answer without the id ", id, " of the question");
  } else if (const auto verdict = json.find("verdict"); verdict != json.end() && *verdict == "satisfied") {
    return Verdict::kSatisfied;
  } else if (verdict != json.end() && *verdict == "violated") {
    return Verdict::kViolated;
  } else {
    problem = "an answer whose verdict is neither satisfied nor violated";
  }
  return Verdict::kFailed;
}

ExternalJudge::ExternalJudge(const std::string& name, const NamedJudge& judge, const Communicator& comm)
    : name_(name),
      seconds_(judge.seconds),
      restarts_(judge.restarts),
      comm_(comm),
      program_(program_of(judge.command, concat("judge.", name, ".command"))) {}

std::vector<Verdict> ExternalJudge::verdicts(const std::vector<JudgedResponse>& responses) const {
  std::string said, first_problem;  // one character a response
  std::int64_t starts = 0, failed = 0;
  const auto ask = [&](std::size_t i) {
    const auto id = static_cast<std::int64_t>(i);
    std::string problem;
    Verdict verdict = Verdict::kFailed;
    if (!program_->is_running() && starts > restarts_) {
      problem = "it was started often enough";
    } else {
      if (!program_->is_running()) {
        program_->start();
        ++starts;
      }
      const JudgeProgram::Answer answer = program_->ask(external_question(id, responses[i]), seconds_);
      if (answer.came) verdict = external_verdict(answer.text, id, problem);
      if (!answer.came) problem = answer.text;
      if (answer.came && verdict == Verdict::kFailed) program_->end();  // who knows what it will say next
    }
    failed += verdict == Verdict::kFailed ? 1 : 0;
    if (first_problem.empty()) first_problem = problem;
    return verdict;
  };
  for (std::size_t first = 0; first < responses.size(); first += kSlice) {
    std::string slice;
    guarded(comm_, [&] {
      if (comm_.rank() != 0) return;
      for (std::size_t i = first; i < std::min(responses.size(), first + kSlice); ++i)
        slice += static_cast<char>('0' + static_cast<int>(ask(i)));
    });
    said += comm_.broadcast(slice, 0);
    set_progress_mark("judging", static_cast<long>(said.size()));
    stop_if_requested(comm_, "judging");
  }
  if (failed > 0)
    log_warning(concat("the judge ", name_, " failed for ", failed, " of ", responses.size(),
                       " responses, the first with: ", first_problem, " (they count as failed; it was started ", starts,
                       " times this round)"));
  std::vector<Verdict> verdicts;
  for (const char one : said) verdicts.push_back(static_cast<Verdict>(one - '0'));
  return verdicts;
}

}  // namespace rluf
