#include <algorithm>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/dataset/examples.hpp"

namespace rluf {
namespace {

std::int64_t length(const TokenIds& ids) { return static_cast<std::int64_t>(ids.size()); }

void append(TokenIds& to, const TokenIds& from) { to.insert(to.end(), from.begin(), from.end()); }

/// head + as much of the newest messages as `budget` allows + response header.
RenderedDocument render_context(const std::vector<Message>& messages, const ChatTemplate& chat, std::int64_t max_turns,
                                std::int64_t budget) {
  const auto num_messages = static_cast<std::int64_t>(messages.size());
  const std::int64_t kept_by_turns = std::min(num_messages, max_turns);
  RenderedDocument rendered;
  rendered.dropped_messages = num_messages - kept_by_turns;
  std::vector<TokenIds> parts;  // oldest first
  std::int64_t total = 0;
  for (std::int64_t i = rendered.dropped_messages; i < num_messages; ++i) {
    parts.push_back(chat.message(messages[static_cast<std::size_t>(i)]));
    total += length(parts.back());
  }
  std::size_t first = 0;
  for (; total > budget && first + 1 < parts.size(); ++first) {
    total -= length(parts[first]);
    rendered.truncated_tokens += length(parts[first]);
    ++rendered.dropped_messages;
  }
  if (total > budget) {
    TokenIds& newest = parts[first];
    rendered.truncated_tokens += total - budget;
    newest.erase(newest.begin(), newest.begin() + (total - budget));
  }
  rendered.document.tokens = chat.head();
  for (; first < parts.size(); ++first) append(rendered.document.tokens, parts[first]);
  append(rendered.document.tokens, chat.response_header());
  return rendered;
}

[[noreturn]] void fail_too_short(std::int64_t max_tokens) {
  fail_input(concat("data.max_tokens = ", max_tokens, " leaves no room"), "the chat template's own marks fill it",
             "raise it");
}

}  // namespace

RenderedDocument render_document(const std::vector<Message>& messages, const std::string& response,
                                 const ModelText& text, std::int64_t max_turns, std::int64_t max_tokens) {
  const ChatTemplate& chat = text.chat;
  TokenIds answer = chat.response(response);
  const std::int64_t available = max_tokens - length(chat.head()) - length(chat.response_header());
  std::int64_t cut = 0;
  if (length(answer) > available) {
    const std::int64_t end_mark = length(chat.response(""));
    if (available <= end_mark) fail_too_short(max_tokens);
    cut = length(answer) - available;
    answer.erase(answer.end() - end_mark - cut, answer.end() - end_mark);
  }
  RenderedDocument rendered = render_context(messages, chat, max_turns, available - length(answer));
  rendered.truncated_tokens += cut;
  rendered.document.response_start = length(rendered.document.tokens);
  append(rendered.document.tokens, answer);
  return rendered;
}

RenderedDocument render_prompt_counted(const std::vector<Message>& messages, const ModelText& text,
                                       std::int64_t max_turns, std::int64_t max_tokens) {
  const std::int64_t available = max_tokens - length(text.chat.head()) - length(text.chat.response_header());
  if (available <= 0) fail_too_short(max_tokens);
  RenderedDocument rendered = render_context(messages, text.chat, max_turns, available);
  rendered.document.response_start = length(rendered.document.tokens);
  return rendered;
}

TokenIds render_prompt(const std::vector<Message>& messages, const ModelText& text, std::int64_t max_turns,
                       std::int64_t max_tokens) {
  return render_prompt_counted(messages, text, max_turns, max_tokens).document.tokens;
}

}  // namespace rluf
