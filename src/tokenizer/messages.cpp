#include "rluf/tokenizer/messages.hpp"

#include "rluf/core/error.hpp"

namespace rluf {

std::vector<Message> read_messages(const nlohmann::json& value, const std::string& path, std::int64_t line_number) {
  const auto fail = [&](const std::string& what) {
    fail_data(concat(path, ":", line_number, ": ", what), "a context is a list of {role, content} or one string",
              "correct the row or leave it out");
  };
  if (value.is_string()) return {{"user", value.get<std::string>()}};
  if (!value.is_array() || value.empty()) fail("the messages are neither a non-empty list nor a string");
  std::vector<Message> messages;
  for (const auto& entry : value) {
    if (!entry.is_object() || !entry.contains("role") || !entry.contains("content") || !entry["role"].is_string() ||
        !entry["content"].is_string())
      fail("a message lacks a text \"role\" or \"content\"");
    messages.push_back({entry["role"].get<std::string>(), entry["content"].get<std::string>()});
    const std::string& role = messages.back().role;
    if (role != "system" && role != "user" && role != "assistant")
      fail(concat("unknown role \"", role, "\" (known: system, user, assistant)"));
  }
  return messages;
}

}  // namespace rluf
