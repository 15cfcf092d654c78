#include "short_text.hpp"

#include <cmath>
#include <cstdio>

namespace rluf {

std::string short_text(double value) {
  if (!std::isfinite(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, std::abs(value) >= 1000 ? "%.0f" : "%.3g", value);
  return text;
}

std::string short_text(const Interval& interval, double scale) {
  if (!std::isfinite(interval.value)) return "-";
  return short_text(scale * interval.value) + " [" + short_text(scale * interval.low) + ", " +
         short_text(scale * interval.high) + "]";
}

}  // namespace rluf
