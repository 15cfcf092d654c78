#pragma once
/// What a row of prompts asks of its responses, in optional fields beside the prompt:
///
///     instructions  [{"type": "punctuation:no_comma", "arguments": {}}, ...]   instructions.hpp
///     instruction_id_list, kwargs   the same as IFEval's files have it
///     answer        "42" or 42                                                 answers.hpp
///     json_schema   {"type": "object", "required": ["name"]}                   json_schema.hpp
///     language      "de"                                                       language.hpp
///     task          "math": a class of prompts that may have judges of its own
///     metadata      anything, which external judges and the questions of model judges get to see
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "rluf/pipeline/constraints/instructions.hpp"

namespace rluf {

struct Constraints {
  std::vector<Instruction> instructions;
  std::optional<std::string> answer, language;
  std::optional<nlohmann::json> json_schema, metadata;
  std::string task;
};

/// The fields of a row; null is the same as absent. @throws Error(kBadData) naming path and line for a field of the
/// wrong type, an unknown instruction, language or keyword of a schema
Constraints read_constraints(const nlohmann::json& row, const std::string& path, std::int64_t line);
/// The fields that are there, so that read_constraints() reads the same.
nlohmann::json to_json(const Constraints& constraints);
/// Whether prompts can have it: one of the fields above, or metadata.NAME, which goes into objects by dots.
bool is_field(const std::string& field);
/// A field's text, or its JSON if it is none; nothing if the prompt does not have it. Broken UTF-8 is replaced.
std::optional<std::string> field_text(const Constraints& constraints, const std::string& field);

}  // namespace rluf
