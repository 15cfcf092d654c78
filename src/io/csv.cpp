#include "rluf/io/csv.hpp"

#include <algorithm>

namespace rluf {
namespace {

using Json = nlohmann::json;

std::string joined(const std::string& path, const std::string& key) { return path.empty() ? key : path + "." + key; }

std::string text_of(const Json& leaf) {
  if (leaf.is_null()) return "";
  return leaf.is_string() ? leaf.get<std::string>() : leaf.dump();
}

bool holds_only_objects(const Json& object) {
  return std::all_of(object.begin(), object.end(), [](const Json& member) { return member.is_object(); });
}
bool holds_structures(const Json& list) {
  return std::any_of(list.begin(), list.end(), [](const Json& element) { return element.is_structured(); });
}

void append_rows(const Json& value, const std::string& record, const std::string& name, std::string& out) {
  if (!value.is_structured() || value.empty()) {
    out += csv_field(record) + "," + csv_field(name) + "," + csv_field(text_of(value)) + "\n";
    return;
  }
  const bool has_records = value.is_object() ? holds_only_objects(value) : holds_structures(value);
  for (const auto& [key, part] : value.items()) {  // of a list the keys are its positions
    if (has_records) {
      append_rows(part, joined(joined(record, name), key), "", out);
    } else {
      append_rows(part, record, joined(name, key), out);
    }
  }
}

}  // namespace

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char letter : text) quoted += letter == '"' ? "\"\"" : std::string(1, letter);
  return quoted + "\"";
}

std::string csv_of(const Json& table) {
  std::string text = "record,name,value\n";
  append_rows(table, "", "", text);
  return text;
}

}  // namespace rluf
