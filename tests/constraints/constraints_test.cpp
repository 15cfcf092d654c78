#include "rluf/pipeline/constraints/constraints.hpp"

#include <gtest/gtest.h>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/constraints/answers.hpp"
#include "rluf/pipeline/constraints/json_schema.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

TEST(Answers, AreFoundInTheRequiredFormOnly) {
  EXPECT_EQ(final_answer("So \\boxed{1} no, \\boxed{\\frac{1}{2}}."), "\\frac{1}{2}");
  EXPECT_EQ(final_answer("Steps.\n#### 1,000\n"), "1,000");
  EXPECT_EQ(final_answer("Two and two. The answer is 4."), "4");
  EXPECT_EQ(final_answer("Two and two.\nAnswer: 3.5"), "3.5");
  EXPECT_EQ(final_answer("The answer is 4. I like it."), std::nullopt) << "not in the final sentence";
  EXPECT_EQ(final_answer("It is 4."), std::nullopt);
  EXPECT_EQ(final_answer("\\boxed{4"), std::nullopt);
  EXPECT_EQ(final_answer("a #### 4"), std::nullopt) << "not at the start of a line";
  EXPECT_EQ(final_answer(""), std::nullopt);
}

TEST(Answers, AreComparedByValue) {
  for (const auto& [one, other] : std::vector<std::pair<const char*, const char*>>{{"1,000.50", "1000.5"},
                                                                                   {"\\frac{1}{2}", "0.5"},
                                                                                   {"-\\dfrac{3}{6}", "-1/2"},
                                                                                   {"$3", "3.0"},
                                                                                   {"50\\%", "50%"},
                                                                                   {"\\text{Monday}", "monday."},
                                                                                   {"x + 1", "x+1"},
                                                                                   {"(1,2)", "(1, 2)"}})
    EXPECT_TRUE(same_answer(one, other)) << one << " and " << other;
  for (const auto& [one, other] :
       std::vector<std::pair<const char*, const char*>>{{"1000", "1,00"},
                                                        {"0.3333", "1/3"},
                                                        {"4", "-4"},
                                                        {"1/0", "0"},
                                                        {"", ""},
                                                        {"99999999999999999999", "99999999999999999998"},
                                                        {"x+1", "x+2"}})
    EXPECT_FALSE(same_answer(one, other)) << one << " and " << other;
}

TEST(JsonSchema, IsKept) {
  const Json schema = Json::parse(R"({"type": "object", "required": ["name", "tags"], "additionalProperties": false,
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
                   "age": {"type": ["integer", "null"]}}})");
  ASSERT_EQ(complaint_about_schema(schema), "");
  EXPECT_TRUE(is_valid_json(R"({"name": "x", "tags": ["a"], "age": 3.0})", schema));
  EXPECT_TRUE(is_valid_json("```json\n{\"name\": \"x\", \"tags\": [], \"age\": null}\n```", schema));
  EXPECT_FALSE(is_valid_json(R"({"name": "x"})", schema));
  EXPECT_FALSE(is_valid_json(R"({"name": 1, "tags": []})", schema));
  EXPECT_FALSE(is_valid_json(R"({"name": "x", "tags": ["c"]})", schema));
  EXPECT_FALSE(is_valid_json(R"({"name": "x", "tags": [], "age": 3.5})", schema));
  EXPECT_FALSE(is_valid_json(R"({"name": "x", "tags": [], "more": 1})", schema));
  EXPECT_FALSE(is_valid_json("[]", schema));
  EXPECT_FALSE(is_valid_json("Here: {}", Json::object()));
  EXPECT_TRUE(is_valid_json("3", Json::object()));
  EXPECT_FALSE(is_valid_json(std::string(300'000, '['), Json::object()));
}

TEST(JsonSchema, UnknownKeywordsAreRefused) {
  EXPECT_NE(complaint_about_schema(Json::parse(R"({"properties": {"a": {"minimum": 1}}})")).find("minimum"),
            std::string::npos);
  EXPECT_NE(complaint_about_schema(Json::parse(R"({"type": "text"})")), "");
  EXPECT_NE(complaint_about_schema(Json::parse("[]")), "");
}

TEST(Constraints, RowsAreReadAndWritten) {
  const Json row =
      Json::parse(R"({"prompt": "p", "answer": 42, "language": "de", "task": "math", "metadata": {"tests": [1]},
    "json_schema": {"type": "object"}, "instructions": [{"type": "punctuation:no_comma"}]})");
  const Constraints constraints = read_constraints(row, "file", 1);
  EXPECT_EQ(constraints.answer, "42");
  EXPECT_EQ(constraints.task, "math");
  ASSERT_EQ(constraints.instructions.size(), 1U);
  const Json written = to_json(constraints);
  EXPECT_EQ(to_json(read_constraints(written, "file", 1)), written);
  EXPECT_EQ(written.size(), 6U);
  EXPECT_TRUE(to_json(read_constraints({{"prompt", "p"}, {"answer", nullptr}}, "file", 1)).empty());
  const Constraints ifeval = read_constraints(
      Json::parse(R"({"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{"num_words": null}, {"relation": "at least", "num_words": 3, "keyword": null}]})"),
      "file", 1);
  ASSERT_EQ(ifeval.instructions.size(), 2U);
  EXPECT_EQ(ifeval.instructions[1].arguments.size(), 2U);
}

TEST(Constraints, BadFieldsNameTheirRow) {
  const auto message = [](const char* row) {
    try {
      read_constraints(Json::parse(row), "prompts.jsonl", 7);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadData);
      return std::string(error.what());
    }
    return std::string();
  };
  const std::string deep = "{\"metadata\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_NE(message(deep.c_str()).find("deep"), std::string::npos);
  for (const auto& [row, part] : std::vector<std::pair<const char*, const char*>>{
           {R"({"instructions": [{"type": "no:such"}]})", "no:such"},
           {R"({"instructions": [{"type": "punctuation:no_comma", "kwargs": {}}]})", "kwargs"},
           {R"({"instructions": {}})", "no list"},
           {R"({"instructions": ["punctuation:no_comma"]})", "no object"},
           {R"({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []})", "equal length"},
           {R"({"answer": []})", "answer"},
           {R"({"language": "xx"})", "xx"},
           {R"({"json_schema": {"minimum": 1}})", "minimum"},
           {R"({"task": ""})", "task"}}) {
    EXPECT_NE(message(row).find("prompts.jsonl:7"), std::string::npos) << row;
    EXPECT_NE(message(row).find(part), std::string::npos) << row << " gives " << message(row);
  }
}

}  // namespace
}  // namespace rluf
