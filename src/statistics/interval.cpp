#include "rluf/statistics/interval.hpp"

#include <cmath>

namespace rluf {

nlohmann::json Interval::to_json() const {
  if (!std::isfinite(value))
    return {{"value", nullptr}, {"reason", "undefined on these data (a single class, or constant scores)"}};
  nlohmann::json json{{"value", value}};
  if (std::isfinite(low) && std::isfinite(high)) {
    json["low"] = low;
    json["high"] = high;
  }
  return json;
}

}  // namespace rluf
