#pragma once
/// Rows of an interaction log, as the stages read them.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rluf/io/jsonl.hpp"
#include "rluf/tokenizer/messages.hpp"

namespace rluf {

/// Hashes that two rows share only if user, messages and response are equal: such rows are exact duplicates.
std::array<std::uint64_t, 2> interaction_key(const std::string& user, const std::vector<Message>& messages,
                                             const std::string& response);
using HashKey = std::array<std::uint64_t, 2>;
/// The key for user_hash. `user_key`: data.user_key
HashKey user_hash_key(const std::string& user_key);
/// What is kept of a user's id.
std::uint64_t user_hash(const HashKey& key, const std::string& user);
/// It as 16 hexadecimal digits.
std::string user_text(std::uint64_t user);
/// messages, or prompt where a file calls it so. @throws Error(kBadData) naming FILE:LINE
std::vector<Message> messages_of(const Json& row, const std::string& path, std::int64_t line);
/// The field user_id (text or an integer) as text. @throws Error(kBadData) naming FILE:LINE
std::string user_of(const Json& row, const std::string& path, std::int64_t line);
/// The field timestamp, cut to whole seconds. @throws Error(kBadData) naming FILE:LINE @unit seconds
std::int64_t time_of(const Json& row, const std::string& path, std::int64_t line);

/// The field use_case; none where the row has none. @throws Error(kBadData) naming FILE:LINE
std::optional<std::string> use_case_of(const Json& row, const std::string& path, std::int64_t line);
/// The field signals, an object. @throws Error(kBadData) naming FILE:LINE
Json signals_of(const Json& row, const std::string& path, std::int64_t line);
/// One of them, 0 or 1. @throws Error(kBadData) naming FILE:LINE if it is missing or something else
double signal_value(const Json& signals, const std::string& name, const std::string& path, std::int64_t line);

/// A row without its texts; 80 bytes, whatever the texts hold.
struct Interaction {
  std::uint64_t user = 0;
  std::array<std::uint64_t, 2> key{};
  std::uint64_t conversation = 0;  ///< hash; 0: the row names none
  std::int64_t timestamp = 0, line = 0;
  std::uint64_t values = 0, known = 0;  ///< bit i: signal i; a signal that the row lacks is not known
  std::int32_t use_case = -1;           ///< number of its name; -1: the row has none
  std::int32_t num_messages = 0;
  std::int8_t opening = 0;    ///< sentiment of the newest user message: -1, 0, 1
  std::int8_t retained = -1;  ///< 0, 1; -1: not known
  bool has(std::size_t signal) const { return (values >> signal & 1) != 0; }
  bool knows(std::size_t signal) const { return (known >> signal & 1) != 0; }
};

/// A log may hold at most so many fields of signals{}; some bits are left for what is derived.
constexpr std::size_t kMaxLoggedSignals = 48;

/// Turns rows into Interactions and collects the names that occur.
class InteractionReader {
 public:
  InteractionReader(const std::string& user_key, const std::string& retention);
  /// @throws Error(kBadData) "FILE:LINE: ..." for rows that cannot be used
  Interaction read(const Json& row, const std::string& path, std::int64_t line);
  const std::vector<std::string>& signals() const { return signals_; }      ///< bit i is named signals()[i]
  const std::vector<std::string>& use_cases() const { return use_cases_; }  ///< in the order of their first rows
  /// Fields of signals{} that hold something else than 0 and 1: name -> in how many rows.
  const std::map<std::string, std::int64_t>& not_binary() const { return not_binary_; }

 private:
  void read_signals(const Json& signals, const std::string& path, std::int64_t line, Interaction& row);
  HashKey user_key_;
  std::string retention_;
  std::vector<std::string> signals_, use_cases_;
  std::map<std::string, std::size_t> signal_numbers_, use_case_numbers_;
  std::map<std::string, std::int64_t> not_binary_;
};

}  // namespace rluf
