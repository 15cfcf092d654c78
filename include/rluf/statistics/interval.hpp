#pragma once
/// A figure with its bounds.
#include <nlohmann/json.hpp>

namespace rluf {

struct Interval {
  double value, low, high;
  nlohmann::json to_json() const;  ///< {"value", "low", "high"}; null with a reason where undefined
};

}  // namespace rluf
