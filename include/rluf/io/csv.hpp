#pragma once
/// Nested tables for programs that read CSV.
#include <nlohmann/json.hpp>
#include <string>

namespace rluf {

/// A field, quoted where it holds a comma, a quote or a line break. @source RFC 4180, section 2
std::string csv_field(const std::string& text);

/// A table in long form: "record,name,value", a row for each number, text, truth or null, in the order of the JSON. A
/// record is an element of a list that holds lists or objects, or a member of an object that holds nothing but objects,
/// called by its path (candidates.0); the name is the path inside it (mean_probability.low). Strings stand as they are,
/// null is empty, what is empty itself is [] or {}.
std::string csv_of(const nlohmann::json& table);

}  // namespace rluf
