#pragma once
/// JSON that a response shall be: pure functions. Of JSON Schema (draft 2020-12) the keywords type, required,
/// properties, additionalProperties (true or false), items and enum are known; others are refused, not passed over.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace rluf {

/// The response without white space and a Markdown fence (``` or ```json) around it.
std::string json_text(std::string_view response);

/// What is wrong with a schema; empty if nothing is.
std::string complaint_about_schema(const nlohmann::json& schema);
/// Whether a document is as a schema, about which there is no complaint, says.
bool is_valid(const nlohmann::json& document, const nlohmann::json& schema);
/// Whether the response is JSON, and as the schema says.
bool is_valid_json(std::string_view response, const nlohmann::json& schema);

}  // namespace rluf
