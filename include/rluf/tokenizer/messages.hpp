#pragma once
/// Conversations as rows of JSON hold them.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

/// messages / prompt field of a JSON row ([{role, content}] or a plain string, which is one user message). @throws
/// Error(kBadData) naming path and line
std::vector<Message> read_messages(const nlohmann::json& value, const std::string& path, std::int64_t line_number);

}  // namespace rluf
