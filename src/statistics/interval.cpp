#include "rluf/statistics/interval.hpp"

#include <cmath>
#include <cstdio>

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

nlohmann::json number_or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

std::string interval_text(const nlohmann::json& figure, double scale, int digits) {
  char text[96] = "-";
  const nlohmann::json value = figure.is_object() ? figure.value("value", nlohmann::json()) : figure;
  if (!value.is_number()) return text;
  if (figure.is_object() && figure.contains("low")) {
    std::snprintf(text, sizeof text, "%.*f [%.*f, %.*f]", digits, scale * value.get<double>(), digits,
                  scale * figure["low"].get<double>(), digits, scale * figure["high"].get<double>());
  } else {
    std::snprintf(text, sizeof text, "%.*f", digits, scale * value.get<double>());
  }
  return text;
}

}  // namespace rluf
