#include "rluf/pipeline/constraints/constraints.hpp"

#include <algorithm>
#include <array>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/constraints/json_schema.hpp"
#include "rluf/pipeline/constraints/language.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr int kDeepest = 64;  ///< nesting of a field; a hostile one must not exhaust the stack

bool is_deeper(const Json& value, int levels) {
  if (!value.is_structured()) return false;
  return levels == 0 ||
         std::any_of(value.begin(), value.end(), [&](const Json& v) { return is_deeper(v, levels - 1); });
}

/// Fails with what is wrong with a field, if something is.
class Row {
 public:
  Row(const Json& row, const std::string& path, std::int64_t line) : row_(row), path_(path), line_(line) {}
  const Json* find(const char* name) const {
    const auto found = row_.find(name);
    if (found == row_.end() || found->is_null()) return nullptr;
    require(!is_deeper(*found, kDeepest), concat("the field \"", name, "\" is nested more than ", kDeepest, " deep"));
    return &*found;
  }
  void require(bool condition, const std::string& complaint) const {
    if (!condition)
      fail_data(concat(path_, ":", line_, ": ", complaint), "responses could not be judged by it",
                "correct the row or leave the field out");
  }
  std::string text(const char* name, const Json& value) const {
    require(value.is_string() && !value.get_ref<const std::string&>().empty(),
            concat("the field \"", name, "\" is no text"));
    return value;
  }

 private:
  const Json& row_;
  const std::string& path_;
  std::int64_t line_;
};

Instruction instruction_of(const Json& value, const Row& row) {
  row.require(value.is_object() && value.contains("type") && value["type"].is_string(),
              "an instruction is no object with a \"type\"");
  Instruction instruction{value["type"], value.value("arguments", Json::object())};
  row.require(instruction.arguments.is_object(), "the \"arguments\" of an instruction are no object");
  for (const auto& [name, unused] : value.items())
    row.require(name == "type" || name == "arguments", concat("an instruction has no field \"", name, "\""));
  const std::string complaint = complaint_about(instruction);
  row.require(complaint.empty(), complaint);
  return instruction;
}

}  // namespace

Constraints read_constraints(const Json& json, const std::string& path, std::int64_t line) {
  const Row row(json, path, line);
  Constraints constraints;
  if (const Json* list = row.find("instructions")) {
    row.require(list->is_array(), "the field \"instructions\" is no list");
    for (const Json& value : *list) constraints.instructions.push_back(instruction_of(value, row));
  }
  if (const Json* types = row.find("instruction_id_list")) {
    const Json* arguments = row.find("kwargs");
    row.require(
        arguments != nullptr && types->is_array() && arguments->is_array() && types->size() == arguments->size(),
        "instruction_id_list and kwargs are no lists of equal length");
    for (std::size_t i = 0; i < types->size(); ++i) {
      Json given = Json::object();  // without the arguments of other types, which are null
      for (const auto& [name, value] : (*arguments)[i].items())
        if (!value.is_null()) given[name] = value;
      constraints.instructions.push_back(instruction_of({{"type", (*types)[i]}, {"arguments", given}}, row));
    }
  }
  if (const Json* answer = row.find("answer"))
    constraints.answer = answer->is_number() ? answer->dump() : row.text("answer", *answer);
  if (const Json* language = row.find("language")) {
    constraints.language = row.text("language", *language);
    const auto known = known_languages();
    row.require(std::find(known.begin(), known.end(), *constraints.language) != known.end(),
                concat("the language \"", *constraints.language, "\" is not one that a rule knows"));
  }
  if (const Json* schema = row.find("json_schema")) {
    const std::string complaint = complaint_about_schema(*schema);
    row.require(complaint.empty(), concat("json_schema: ", complaint));
    constraints.json_schema = *schema;
  }
  if (const Json* metadata = row.find("metadata")) constraints.metadata = *metadata;
  if (const Json* task = row.find("task")) constraints.task = row.text("task", *task);
  return constraints;
}

Json to_json(const Constraints& constraints) {
  Json json = Json::object();
  for (const Instruction& instruction : constraints.instructions)
    json["instructions"].push_back({{"type", instruction.type}, {"arguments", instruction.arguments}});
  if (constraints.answer) json["answer"] = *constraints.answer;
  if (constraints.language) json["language"] = *constraints.language;
  if (constraints.json_schema) json["json_schema"] = *constraints.json_schema;
  if (constraints.metadata) json["metadata"] = *constraints.metadata;
  if (!constraints.task.empty()) json["task"] = constraints.task;
  return json;
}

bool is_field(const std::string& field) {
  constexpr std::array<const char*, 6> kFields = {"instructions", "answer", "json_schema",
                                                  "language",     "task",   "metadata"};
  return std::find(kFields.begin(), kFields.end(), field) != kFields.end() ||
         (field.starts_with("metadata.") && field.size() > std::string("metadata.").size());
}

std::optional<std::string> field_text(const Constraints& constraints, const std::string& field) {
  Json value = to_json(constraints);
  std::istringstream parts(field);
  for (std::string part; std::getline(parts, part, '.');) {
    if (!value.is_object() || !value.contains(part)) return {};
    value = Json(value[part]);
  }
  if (value.is_null()) return {};
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace rluf
