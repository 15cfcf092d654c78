#pragma once
#include <string>

#include "rluf/config/option_table.hpp"

namespace rluf {

/// ${NAME} from the environment. @throws Error(kBadInput) if it is not set
std::string expand_variables(const std::string& text, const std::string& where);
/// Sets an option from its text, after all checks. `where`: "FILE:LINE" or "command line"
void assign_value(OptionTable::Entry& entry, const std::string& raw, const std::string& where);
/// Choices or range, for the parameter page; empty if anything goes.
std::string allowed_text(const OptionText& text);

}  // namespace rluf
