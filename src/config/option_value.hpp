#pragma once
/// How one option's text becomes its value, and back. Private to the config room.
#include <string>

#include "rluf/config/option_table.hpp"

namespace rluf {

/// Stores `text` in the entry's target. @throws Error(kBadInput) starting with `place` ("FILE:LINE: " or "")
void set_value(const OptionTable::Entry& entry, const std::string& text, const std::string& place);
/// "1 to 1000", "at least 0", "one of a, b"; empty if anything goes.
std::string range_text(const OptionTable::Entry& entry);
/// "${NAME}" replaced by the environment's value. @throws Error(kBadInput) for one that is not set
std::string expand_environment(const std::string& text, const std::string& name, const std::string& place);

}  // namespace rluf
