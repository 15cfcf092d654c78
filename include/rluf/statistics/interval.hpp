#pragma once
/// A figure with its bounds, and how figures stand in tables.
#include <nlohmann/json.hpp>
#include <string>

namespace rluf {

struct Interval {
  double value, low, high;
  nlohmann::json to_json() const;  ///< {"value", "low", "high"}; null with a reason where undefined
};

/// JSON has no NaN: null stands for what is not finite.
nlohmann::json number_or_null(double value);
/// "1.23 [0.98, 1.50]" of {"value", "low", "high"}, without bounds where it has none; of a plain number the number; "-"
/// for what is not known.
std::string interval_text(const nlohmann::json& figure, double scale, int digits);

}  // namespace rluf
