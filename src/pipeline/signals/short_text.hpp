#pragma once
/// Figures of the comparison in few characters.
#include <string>

#include "rluf/statistics/interval.hpp"

namespace rluf {

/// Three digits, or a whole number from 1000 on; "-" for what is not finite.
std::string short_text(double value);
/// "0.6 [0.5, 0.7]", or "-".
std::string short_text(const Interval& interval, double scale = 1);

}  // namespace rluf
