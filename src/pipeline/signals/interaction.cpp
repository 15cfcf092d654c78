#include "rluf/pipeline/signals/interaction.hpp"

#include <cinttypes>
#include <cmath>
#include <cstdio>

#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/pipeline/signals/sentiment.hpp"

namespace rluf {
namespace {

[[noreturn]] void fail_row(const std::string& path, std::int64_t line, const std::string& problem,
                           const std::string& why) {
  fail_data(concat(path, ":", line, ": ", problem), why, "correct the row or leave it out");
}

/// 0 or 1 as a number or a boolean; -1 for null, -2 for anything else.
int binary_value(const Json& value) {
  if (value.is_null()) return -1;
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (!value.is_number()) return -2;
  const double number = value.get<double>();
  return number == 0 ? 0 : number == 1 ? 1 : -2;
}

/// The number of a name, which it gets when it is first seen.
std::size_t number_of(const std::string& name, std::map<std::string, std::size_t>& numbers,
                      std::vector<std::string>& names) {
  const auto [found, is_new] = numbers.emplace(name, names.size());
  if (is_new) names.push_back(name);
  return found->second;
}

std::int8_t opening_sentiment(const std::vector<Message>& messages) {
  for (auto message = messages.rbegin(); message != messages.rend(); ++message)
    if (message->role == "user") return static_cast<std::int8_t>(sentiment_of(message->content));
  return 0;
}

}  // namespace

std::array<std::uint64_t, 2> interaction_key(const std::string& user, const std::vector<Message>& messages,
                                             const std::string& response) {
  std::string text;  // parts with their lengths in front, so that none can run into the next
  const auto add = [&](const std::string& part) { text += std::to_string(part.size()) + ":" + part; };
  add(user);
  for (const Message& message : messages) {
    add(message.role);
    add(message.content);
  }
  add(response);
  return {siphash({2, 0}, text), siphash({3, 0}, text)};
}

HashKey user_hash_key(const std::string& user_key) { return hash_key("user " + user_key); }

std::uint64_t user_hash(const HashKey& key, const std::string& user) { return siphash(key, user); }

std::string user_text(std::uint64_t user) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, user);
  return text;
}

std::vector<Message> messages_of(const Json& row, const std::string& path, std::int64_t line) {
  return read_messages(field<Json>(row, row.contains("messages") ? "messages" : "prompt", path, line), path, line);
}

std::string user_of(const Json& row, const std::string& path, std::int64_t line) {
  const auto user = field<Json>(row, "user_id", path, line);
  if (!user.is_string() && !user.is_number_integer())
    fail_row(path, line, "the field \"user_id\" is neither text nor an integer", "users are told apart by it");
  return user.is_string() ? user.get<std::string>() : user.dump();
}

std::int64_t time_of(const Json& row, const std::string& path, std::int64_t line) {
  const double time = field<double>(row, "timestamp", path, line);
  if (!(std::abs(time) < 1e15)) fail_row(path, line, "the field \"timestamp\" is out of range", "it is in seconds");
  return static_cast<std::int64_t>(std::floor(time));
}

std::optional<std::string> use_case_of(const Json& row, const std::string& path, std::int64_t line) {
  const auto name = row.find("use_case");
  if (name == row.end() || name->is_null()) return std::nullopt;
  if (!name->is_string()) fail_row(path, line, "the field \"use_case\" is no text", "it names a kind of use");
  return name->get<std::string>();
}

Json signals_of(const Json& row, const std::string& path, std::int64_t line) {
  Json signals = field<Json>(row, "signals", path, line);
  if (!signals.is_object())
    fail_row(path, line, "the field \"signals\" is no object", "what users did is read from it");
  return signals;
}

double signal_value(const Json& signals, const std::string& name, const std::string& path, std::int64_t line) {
  const auto given = field<Json>(signals, name, path, line);
  const double value =
      given.is_boolean() ? static_cast<double>(given.get<bool>()) : field<double>(signals, name, path, line);
  if (value != 0 && value != 1)
    fail_data(concat(path, ":", line, ": signals.", name, " is ", value), "a signal is 0 or 1", "correct the row");
  return value;
}

InteractionReader::InteractionReader(const std::string& user_key, const std::string& retention)
    : user_key_(user_hash_key(user_key)), retention_(retention) {}

Interaction InteractionReader::read(const Json& row, const std::string& path, std::int64_t line) {
  const std::string user = user_of(row, path, line);
  const std::vector<Message> messages = messages_of(row, path, line);
  Interaction result{.user = user_hash(user_key_, user),
                     .key = interaction_key(user, messages, field<std::string>(row, "response", path, line)),
                     .timestamp = time_of(row, path, line),
                     .line = line,
                     .num_messages = static_cast<std::int32_t>(messages.size()),
                     .opening = opening_sentiment(messages)};
  read_signals(signals_of(row, path, line), path, line, result);
  if (const auto name = row.find("conversation_id"); name != row.end() && !name->is_null())
    result.conversation = siphash({6, 0}, name->dump()) | 1;
  if (const auto name = use_case_of(row, path, line))
    result.use_case = static_cast<std::int32_t>(number_of(*name, use_case_numbers_, use_cases_));
  if (const auto retained = row.find(retention_); retained != row.end()) {
    const int value = binary_value(*retained);
    if (value == -2)
      fail_row(path, line, concat("the field \"", retention_, "\" (signals.retention) is neither 0 nor 1"),
               "it says whether the user was still there later");
    result.retained = static_cast<std::int8_t>(value);
  }
  return result;
}

void InteractionReader::read_signals(const Json& signals, const std::string& path, std::int64_t line,
                                     Interaction& row) {
  for (const auto& [name, value] : signals.items()) {
    const int binary = binary_value(value);
    if (binary == -1) continue;
    if (binary == -2) {
      ++not_binary_[name];
      continue;
    }
    const std::size_t number = number_of(name, signal_numbers_, signals_);
    if (number >= kMaxLoggedSignals)
      fail_row(path, line, concat("the log has more than ", kMaxLoggedSignals, " fields of signals{}, \"", name, "\""),
               "they are compared pair by pair");
    row.known |= std::uint64_t{1} << number;
    row.values |= static_cast<std::uint64_t>(binary) << number;
  }
}

}  // namespace rluf
