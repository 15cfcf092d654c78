#include "rluf/tokenizer/chat_template.hpp"

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

void append(TokenIds& ids, const TokenIds& more) { ids.insert(ids.end(), more.begin(), more.end()); }

std::string detect(const Tokenizer& tokenizer) {
  if (tokenizer.special_id("<|start_header_id|>")) return "llama3";
  if (tokenizer.special_id("<|im_start|>")) return "chatml";
  return "plain";
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& name, const Tokenizer& tokenizer)
    : tokenizer_(&tokenizer), name_(name == "auto" ? detect(tokenizer) : name) {
  if (name_ == "llama3") {
    head_ = {special("<|begin_of_text|>")};
    response_header_ = header("assistant");
    stop_ids_ = {special("<|eot_id|>")};
  } else if (name_ == "chatml") {
    response_header_ = header("assistant");
    append(response_header_, tokenizer.encode("assistant\n"));
    stop_ids_ = {special("<|im_end|>")};
  } else if (name_ == "plain") {
    for (const char* end : {"<|endoftext|>", "<|end_of_text|>", "</s>", "<|im_end|>"})
      if (stop_ids_.empty() && tokenizer.special_id(end)) stop_ids_ = {*tokenizer.special_id(end)};
    if (stop_ids_.empty())
      fail_input(concat(tokenizer.path(), " has no end-of-text token"), "responses could not end",
                 "choose another model.chat_template");
    response_header_ = tokenizer.encode("Assistant:");
  } else {
    fail_input(concat("unknown chat template \"", name_, "\""), "messages cannot become tokens",
               "choose llama3, chatml, plain or auto");
  }
  for (const char* end : {"<|end_of_text|>", "<|endoftext|>", "<|eom_id|>"})
    if (const auto id = tokenizer.special_id(end); id && *id != stop_ids_[0]) stop_ids_.push_back(*id);
}

std::int32_t ChatTemplate::special(const std::string& token) const {
  const auto id = tokenizer_->special_id(token);
  if (!id)
    fail_input(concat(tokenizer_->path(), " has no token ", token), concat("the chat template ", name_, " needs it"),
               "choose another model.chat_template");
  return *id;
}

TokenIds ChatTemplate::header(const std::string& role) const {
  TokenIds ids;
  if (name_ == "llama3") {
    ids.push_back(special("<|start_header_id|>"));
    append(ids, tokenizer_->encode(role));
    ids.push_back(special("<|end_header_id|>"));
    if (role == "assistant") append(ids, tokenizer_->encode("\n\n"));
  } else if (name_ == "chatml") {
    ids.push_back(special("<|im_start|>"));
  }
  return ids;
}

TokenIds ChatTemplate::message(const Message& message) const {
  TokenIds ids;
  if (name_ == "llama3") {
    ids = {special("<|start_header_id|>")};
    append(ids, tokenizer_->encode(message.role));
    ids.push_back(special("<|end_header_id|>"));
    append(ids, tokenizer_->encode("\n\n" + trimmed(message.content)));
    ids.push_back(special("<|eot_id|>"));
  } else if (name_ == "chatml") {
    ids = {special("<|im_start|>")};
    append(ids, tokenizer_->encode(message.role + "\n" + message.content));
    ids.push_back(special("<|im_end|>"));
    append(ids, tokenizer_->encode("\n"));
  } else {
    const std::string name = message.role == "assistant" ? "Assistant" : message.role == "system" ? "System" : "User";
    append(ids, tokenizer_->encode(name + ": " + message.content + "\n"));
  }
  return ids;
}

TokenIds ChatTemplate::response(const std::string& text) const {
  TokenIds ids = tokenizer_->encode(name_ == "plain" ? " " + text : text);
  ids.push_back(stop_ids_[0]);
  return ids;
}

TokenIds ChatTemplate::prompt(const std::vector<Message>& messages) const {
  TokenIds ids = head_;
  for (const Message& one : messages) append(ids, message(one));
  append(ids, response_header_);
  return ids;
}

}  // namespace rluf
