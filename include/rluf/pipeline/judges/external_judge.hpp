#pragma once
/// A judge that is a program: JSON lines in, JSON lines out, one at a time.
///
///     in   {"id": 0, "prompt": [{"role": "user", "content": "..."}], "response": "...", "constraints": {...}}
///     out  {"id": 0, "verdict": "satisfied"}  or  {"id": 0, "verdict": "violated", "reason": "..."}
///
/// `constraints` is there if the prompt has some, `metadata` among them. Whatever else comes back, or nothing in time,
/// is a failure: the response counts as failed, and the program is started again for the next one. Rank 0 alone asks,
/// in the order of the round, so that the verdicts do not depend on the ranks; they are the same again after a restart
/// if the program's answers depend on its questions alone.
#include <string>

#include "rluf/pipeline/judges/judge_program.hpp"
#include "rluf/pipeline/judges/judges.hpp"

namespace rluf {

/// What the program is asked. @throws std::exception never: broken UTF-8 is replaced
std::string external_question(std::int64_t id, const JudgedResponse& response);
/// The verdict of an answer to question `id`; kFailed with the reason in `problem` if it is none.
Verdict external_verdict(const std::string& answer, std::int64_t id, std::string& problem);

class ExternalJudge : public Judge {
 public:
  /// @throws Error(kBadInput) if the command is empty or its program missing
  ExternalJudge(const std::string& name, const NamedJudge& judge, const Communicator& comm);
  std::string name() const override { return name_; }
  std::vector<Verdict> verdicts(const std::vector<JudgedResponse>& responses) const override;

 private:
  std::string name_;
  double seconds_;
  std::int64_t restarts_;
  Communicator comm_;
  std::unique_ptr<JudgeProgram> program_;
};

}  // namespace rluf
