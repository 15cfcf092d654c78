#pragma once
// The metrics of a policy's rounds, one row a round.
#include <string>
#include <vector>

#include "rluf/io/checkpoint.hpp"
#include "rluf/pipeline/policy/policy_round.hpp"

namespace rluf {

/// Kept in the policy's checkpoints as one tensor, so that a restart has the whole table.
struct RoundTable {
  std::vector<std::string> names;
  std::vector<std::vector<double>> rows;

  void add(const RoundMetrics& metrics);
  void describe(StateArchive& archive);
  nlohmann::json json() const;
  /// First and last round, and where a mean round's time went.
  void log(const std::string& stage) const;

 private:
  /// 0 where there is no such metric.
  double value(const std::vector<double>& row, const std::string& name) const;
};

}  // namespace rluf
