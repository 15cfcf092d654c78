#include "rluf/pipeline/judges/task_judges.hpp"

#include <algorithm>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/constraints/tasks.hpp"

namespace rluf {
namespace {

[[noreturn]] void fail(const std::string& problem) {
  fail_input("policy.task_judges: " + problem, "a task would not be judged as you mean",
             "write it like: math: length answer; chat: length safety");
}

class JudgeOfPrompts : public Judge {
 public:
  JudgeOfPrompts(std::unique_ptr<Judge> judge, const TaskJudges& tasks, std::vector<std::string> fields)
      : judge_(std::move(judge)), tasks_(tasks), fields_(std::move(fields)) {}
  std::string name() const override { return judge_->name(); }
  bool asks(const Constraints& constraints) const override {
    const auto task = tasks_.find(constraints.task);
    return (task == tasks_.end() || task->second.contains(name())) && judge_->asks(constraints) &&
           std::all_of(fields_.begin(), fields_.end(),
                       [&](const std::string& field) { return field_text(constraints, field).has_value(); });
  }
  std::vector<Verdict> verdicts(const std::vector<JudgedResponse>& responses) const override {
    static const Constraints none;
    std::vector<JudgedResponse> asked;
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < responses.size(); ++i) {
      if (!asks(responses[i].constraints == nullptr ? none : *responses[i].constraints)) continue;
      asked.push_back(responses[i]);
      which.push_back(i);
    }
    std::vector<Verdict> all(responses.size(), Verdict::kNotAsked);
    const std::vector<Verdict> verdicts = judge_->verdicts(asked);
    RLUF_ASSERT(verdicts.size() == asked.size());
    for (std::size_t k = 0; k < which.size(); ++k) all[which[k]] = verdicts[k];
    return all;
  }

 private:
  std::unique_ptr<Judge> judge_;
  TaskJudges tasks_;
  std::vector<std::string> fields_;
};

}  // namespace

TaskJudges read_task_judges(const std::string& text, const std::vector<std::string>& known) {
  TaskJudges tasks;
  for (const auto& [name, text_of_task] : parts_by_task(text, fail)) {
    std::set<std::string>& judges = tasks[name];
    std::istringstream names(text_of_task);
    for (std::string judge; names >> judge;) {
      if (std::find(known.begin(), known.end(), judge) == known.end())
        fail(concat("the judge \"", judge, "\" of ", name, " is not in policy.judges"));
      judges.insert(judge);
    }
  }
  return tasks;
}

std::unique_ptr<Judge> for_its_prompts(std::unique_ptr<Judge> judge, const TaskJudges& tasks,
                                       const std::vector<std::string>& fields) {
  if (tasks.empty() && fields.empty()) return judge;
  return std::make_unique<JudgeOfPrompts>(std::move(judge), tasks, fields);
}

}  // namespace rluf
