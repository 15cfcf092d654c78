#pragma once
/// The judges that need nobody's help, by name.
#include <functional>
#include <map>

#include "rluf/pipeline/judges/judges.hpp"

namespace rluf {

using JudgeMaker = std::function<std::unique_ptr<Judge>(const JudgeOptions&, const JudgeTools&)>;
const std::map<std::string, JudgeMaker>& rule_judge_makers();

}  // namespace rluf
