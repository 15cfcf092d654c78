#pragma once
/// Heads beside that of love on the same trunk, for other things that a log says of a response. Pure functions.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace rluf {

enum class TargetKind { kBinary, kOrdinal, kRegression };
const char* name_of(TargetKind kind);

/// One thing to learn beside love.
struct AuxiliaryTarget {
  std::string name;  ///< of a signal or a numeric field of the log
  TargetKind kind = TargetKind::kBinary;
  std::int64_t levels = 2;  ///< binary: 0 and 1; ordinal: 1 ... levels; regression: not used

  std::int64_t num_thresholds() const { return kind == TargetKind::kRegression ? 0 : levels - 1; }
  double lowest_level() const { return kind == TargetKind::kBinary ? 0 : 1; }
};
/// NAME, NAME:ordinal:LEVELS or NAME:regression each. @throws Error(kBadInput) for other forms, fewer than three
/// levels, a name twice
std::vector<AuxiliaryTarget> parse_targets(const std::vector<std::string>& texts);

/// How a head's raw score becomes what it predicts.
struct AuxiliaryHead {
  AuxiliaryTarget target;
  std::vector<double> thresholds = {};  ///< rising; P(above level k) = sigmoid(raw - thresholds[k])
  double center = 0, scale = 1;         ///< regression: value = center + scale * raw

  /// Probability of a 1, expected level, or value. @unit that of the log
  double predicted(double raw) const;
  nlohmann::json to_json() const;
  static AuxiliaryHead from_json(const nlohmann::json& json);
};

/// The head that knows how `values` (those of the trained rows, NaN: no label) are spread and nothing else: thresholds
/// are the log-odds of their levels with half a row added to each, center and scale their mean and standard deviation.
/// @throws Error(kBadData) if a value is none of the levels, Error(kBadData) without a label or without spread
AuxiliaryHead head_of_spread(const AuxiliaryTarget& target, const std::vector<double>& values);
/// @throws Error(kBadData) naming the first value that is no level of the target
void check_values(const AuxiliaryTarget& target, const std::vector<double>& values);

}  // namespace rluf
