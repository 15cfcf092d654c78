#pragma once
/// Tasks are classes of prompts, by their field `task`, with judges of their own.
/// @source CGPO (arXiv 2409.20370), section 4.2: each task has its own mixture of judges
#include <map>
#include <set>
#include <string>
#include <vector>

#include "rluf/pipeline/judges/judges.hpp"

namespace rluf {

/// Names of the judges of each listed task; a task that is not listed has all.
using TaskJudges = std::map<std::string, std::set<std::string>>;

/// "math: length answer; chat: length safety" @throws Error(kBadInput) for what cannot be read, a task twice, or a
/// judge that is not in `known`
TaskJudges read_task_judges(const std::string& text, const std::vector<std::string>& known);

/// The judge, for prompts of the tasks that have it and with all the fields: responses to others are not asked about,
/// as CGPO asks for facts only where a gold answer is (appendix B).
std::unique_ptr<Judge> for_its_prompts(std::unique_ptr<Judge> judge, const TaskJudges& tasks,
                                       const std::vector<std::string>& fields);

}  // namespace rluf
