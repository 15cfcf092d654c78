#pragma once
/// Byte-level BPE as Llama 3, SmolLM2 and GPT-2 use it. Text never becomes a special token: those are placed by the
/// chat template through special_id() only.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rluf {

using TokenIds = std::vector<std::int32_t>;

/// Text with every invalid UTF-8 sequence replaced by U+FFFD, a mark for each maximal broken part as Python's
/// errors="replace" does.
std::string valid_utf8(std::string_view text);

class Tokenizer {
 public:
  /// Reads tokenizer.json, or Llama 3's tokenizer.model (base64 ranks), from a Hugging Face folder.
  /// @throws Error(kBadInput) if neither is there, or the file is of another kind of tokenizer
  static Tokenizer from_folder(const std::string& folder);
  static Tokenizer from_file(const std::string& path);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of plain text; invalid UTF-8 is replaced by U+FFFD first, as HF tokenizers' callers do.
  TokenIds encode(std::string_view text) const;
  /// Bytes of the ids; special tokens are left out unless asked for.
  std::string decode(const TokenIds& ids, bool with_special = false) const;

  std::optional<std::int32_t> special_id(const std::string& token) const;
  bool is_special(std::int32_t id) const;
  /// One more than the largest id.
  std::int32_t vocab_size() const;
  /// File that the tokenizer was read from, copied beside every model that is saved.
  const std::string& path() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rluf
