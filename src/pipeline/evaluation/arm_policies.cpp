#include "rluf/pipeline/evaluation/arm_policies.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "rluf/config/option_table.hpp"
#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

/// Position of a name; unknown ones are an error that names the nearest.
std::size_t position_of(const std::string& name, const std::vector<std::string>& names, const std::string& where,
                        const char* what) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  const std::string nearest = nearest_name(name, names);
  fail_input(concat(where, ": the log has no ", what, " \"", name, "\""), "nothing of it can be valued",
             nearest.empty() ? std::string("name one that it has") : concat("did you mean ", nearest, "?"));
}

/// "ARM" or {"ARM": chance, ...}. @shape out [num_arms]
std::vector<double> chances_of(const Json& choice, const ServedLog& log, const std::string& where) {
  std::vector<double> chances(log.arms.size(), 0.0);
  const char* remedy = "write \"ARM\" or {\"ARM\": chance, ...}";
  if (choice.is_string()) {
    chances[position_of(choice.get<std::string>(), log.arms, where, "arm")] = 1;
    return chances;
  }
  if (!choice.is_object()) fail_input(concat(where, " is neither text nor an object"), "it names arms", remedy);
  double sum = 0;
  for (const auto& [arm, chance] : choice.items()) {
    if (!chance.is_number() || !(chance.get<double>() >= 0))
      fail_input(concat(where, ": the chance of ", arm, " is no number from 0 to 1"), "arms are mixed by it", remedy);
    chances[position_of(arm, log.arms, where, "arm")] = chance.get<double>();
    sum += chance.get<double>();
  }
  if (std::abs(sum - 1) > 1e-6)
    fail_input(concat(where, ": the chances add up to ", sum, ", not 1"), "one arm serves each response",
               "correct them");
  return chances;
}

ArmPolicy policy_of(const std::string& name, const Json& rule, const ServedLog& log, const std::string& path) {
  ArmPolicy policy{.name = name, .kind = PolicyKind::kFile, .chances = {}};
  policy.chances.resize(log.use_cases.size());
  if (!rule.is_object()) {
    for (auto& chances : policy.chances) chances = chances_of(rule, log, concat(path, ": ", name));
    return policy;
  }
  for (const auto& [use_case, choice] : rule.items()) {
    const std::string where = concat(path, ": ", name, ": ", use_case);
    const std::vector<double> chances = chances_of(choice, log, where);
    if (use_case != "*") {
      policy.chances[position_of(use_case, log.use_cases, where, "use case")] = chances;
      continue;
    }
    for (std::size_t u = 0; u < log.use_cases.size(); ++u)
      if (!rule.contains(log.use_cases[u])) policy.chances[u] = chances;
  }
  for (std::size_t u = 0; u < log.use_cases.size(); ++u)
    if (policy.chances[u].empty())
      fail_input(concat(path, ": ", name, " says nothing of the use case ", log.use_cases[u]),
                 "the log has responses there", "name it, or \"*\" for all others");
  return policy;
}

}  // namespace

const char* kind_name(PolicyKind kind) {
  return kind == PolicyKind::kLog ? "log" : kind == PolicyKind::kArm ? "arm" : "policy";
}

std::vector<ArmPolicy> arm_policies(const ServedLog& log, const std::string& file) {
  std::vector<ArmPolicy> policies{{.name = kLogPolicy, .kind = PolicyKind::kLog, .chances = {}}};
  std::vector<std::size_t> order(log.arms.size());
  for (std::size_t arm = 0; arm < order.size(); ++arm) order[arm] = arm;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return log.arms[a] < log.arms[b]; });
  for (const std::size_t arm : order) {
    std::vector<double> chances(log.arms.size(), 0.0);
    chances[arm] = 1;
    policies.push_back({.name = log.arms[arm],
                        .kind = PolicyKind::kArm,
                        .chances = std::vector<std::vector<double>>(log.use_cases.size(), chances)});
  }
  if (file.empty()) return policies;
  const Json rules = read_json(file);
  if (!rules.is_object() || rules.empty())
    fail_input(file + " is no JSON object with policies", "there is nothing to value",
               "write {\"NAME\": {\"USE CASE or *\": \"ARM\"}, ...}");
  std::set<std::string> names{kLogPolicy};
  names.insert(log.arms.begin(), log.arms.end());
  for (const auto& [name, rule] : rules.items()) {
    if (!names.insert(name).second)
      fail_input(concat(file, ": ", name, " is the name of an arm"), "their values could not be told apart",
                 "rename the policy");
    policies.push_back(policy_of(name, rule, log, file));
  }
  return policies;
}

}  // namespace rluf
