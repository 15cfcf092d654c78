#include "rluf/pipeline/constraints/json_schema.hpp"

#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSpace = " \t\n\r\f\v";

const std::vector<std::string> kTypes = {"object", "array", "string", "number", "integer", "boolean", "null"};

bool has_type(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  // 1.0 is an integer there.
  return value.is_number_integer() || (value.is_number_float() && std::floor(value.get<double>()) == value);
}

bool is_list_of_texts(const Json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_string(); });
}

std::string complaint_about_types(const Json& value) {
  for (const Json& type : value.is_array() ? value : Json::array({value}))
    if (!type.is_string() || std::find(kTypes.begin(), kTypes.end(), type.get<std::string>()) == kTypes.end())
      return concat("\"type\" is ", type.dump(), ", which is no type of JSON");
  return "";
}

std::string_view without(std::string_view text, std::string_view characters) {
  const std::size_t first = text.find_first_not_of(characters), last = text.find_last_not_of(characters);
  return first == text.npos ? std::string_view() : text.substr(first, last + 1 - first);
}

}  // namespace

std::string json_text(std::string_view response) {
  response = without(response, kSpace);
  for (const std::string_view fence : {"```json", "```Json", "```JSON", "```"})
    if (response.starts_with(fence)) {
      response.remove_prefix(fence.size());
      break;
    }
  if (response.ends_with("```")) response.remove_suffix(3);
  return std::string(without(response, kSpace));
}

std::string complaint_about_schema(const Json& schema) {
  if (!schema.is_object()) return "a schema is a JSON object";
  for (const auto& [keyword, value] : schema.items()) {
    std::string complaint;
    if (keyword == "type") {
      complaint = complaint_about_types(value);
    } else if (keyword == "required") {
      if (!is_list_of_texts(value)) complaint = "\"required\" must be a list of texts";
    } else if (keyword == "properties") {
      if (!value.is_object()) complaint = "\"properties\" must be an object of schemas";
      for (const Json& part : value)
        if (complaint.empty()) complaint = complaint_about_schema(part);
    } else if (keyword == "items") {
      complaint = complaint_about_schema(value);
    } else if (keyword == "enum") {
      if (!value.is_array()) complaint = "\"enum\" must be a list";
    } else if (keyword == "additionalProperties") {
      if (!value.is_boolean()) complaint = "\"additionalProperties\" may only be true or false here";
    } else {
      complaint = concat("the keyword \"", keyword, "\" is not known here");
    }
    if (!complaint.empty()) return complaint;
  }
  return "";
}

bool is_valid(const Json& document, const Json& schema) {
  if (schema.contains("type")) {
    const Json& type = schema["type"];
    const Json types = type.is_array() ? type : Json::array({type});
    if (std::none_of(types.begin(), types.end(), [&](const Json& t) { return has_type(document, t); })) return false;
  }
  if (schema.contains("enum") &&
      std::find(schema["enum"].begin(), schema["enum"].end(), document) == schema["enum"].end())
    return false;
  if (document.is_object()) {
    const Json properties = schema.value("properties", Json::object());
    for (const Json& name : schema.value("required", Json::array()))
      if (!document.contains(name.get_ref<const std::string&>())) return false;
    for (const auto& [name, value] : document.items()) {
      if (properties.contains(name) ? !is_valid(value, properties[name]) : !schema.value("additionalProperties", true))
        return false;
    }
  }
  if (document.is_array() && schema.contains("items"))
    return std::all_of(document.begin(), document.end(),
                       [&](const Json& item) { return is_valid(item, schema["items"]); });
  return true;
}

bool is_valid_json(std::string_view response, const Json& schema) {
  const Json document = Json::parse(json_text(response), nullptr, false);
  return !document.is_discarded() && is_valid(document, schema);
}

}  // namespace rluf
