#pragma once
/// Chat templates: pinned here, never read from a model's Jinja text, with golden token ids in the tests.
#include <string>
#include <vector>

#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {

struct Message {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

class ChatTemplate {
 public:
  /// `name`: llama3, chatml, plain, or auto (chosen by the special tokens that the tokenizer has).
  /// @throws Error(kBadInput) if the tokenizer lacks a token of the template
  ChatTemplate(const std::string& name, const Tokenizer& tokenizer);

  /// Tokens before the first message (begin of text; nothing where the template has none).
  const TokenIds& head() const { return head_; }
  /// One whole message with header and end mark.
  TokenIds message(const Message& message) const;
  /// Header after which the model writes its response.
  const TokenIds& response_header() const { return response_header_; }
  /// The response with its end mark: what follows response_header().
  TokenIds response(const std::string& text) const;
  /// Generation ends at any of these.
  const std::vector<std::int32_t>& stop_ids() const { return stop_ids_; }
  /// head + every message + response_header.
  TokenIds prompt(const std::vector<Message>& messages) const;
  const std::string& name() const { return name_; }

 private:
  const Tokenizer* tokenizer_;
  std::string name_;
  TokenIds head_, response_header_;
  std::vector<std::int32_t> stop_ids_;
  std::int32_t special(const std::string& token) const;
  TokenIds header(const std::string& role) const;
};

}  // namespace rluf
