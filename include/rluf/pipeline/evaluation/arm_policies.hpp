#pragma once
/// Policies over the arms of a log: each arm alone, and mixtures by use case.
#include <string>
#include <vector>

#include "rluf/pipeline/evaluation/served_log.hpp"

namespace rluf {

enum class PolicyKind { kLog, kArm, kFile };
const char* kind_name(PolicyKind kind);

struct ArmPolicy {
  std::string name;
  PolicyKind kind = PolicyKind::kArm;
  /// Chance of each arm. @shape [num_use_cases][num_arms]; empty: the log's own shares
  std::vector<std::vector<double>> chances;
};

/// The name of the log's own mixture of arms.
inline constexpr const char* kLogPolicy = "(the log)";

/// The log's own mixture, each arm alone in the order of their names, then the policies of the file (empty: none).
/// @throws Error(kBadInput) for unknown arms and use cases (naming the nearest), chances that do not add up to 1, use
/// cases that a policy leaves out, and names that are there twice
std::vector<ArmPolicy> arm_policies(const ServedLog& log, const std::string& file);

}  // namespace rluf
