#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "rluf/tokenizer/tokenizer.hpp"

namespace rluf {

/// Byte-pair encoding of one word: bytes are joined pair by pair, the pair of the lowest rank first.
class BytePairs {
 public:
  /// A token's bytes and id. @throws nothing; later duplicates are ignored
  void add_token(std::string bytes, std::int32_t id);
  /// `left` and `right` join to `joined`; lower ranks go first.
  void add_merge(std::int32_t left, std::int32_t right, std::int32_t joined, std::int32_t rank);
  /// Every split of a token into two tokens is a merge of the token's rank. @source tiktoken's rule
  void add_merges_by_rank();
  /// Single bytes that are tokens. Vocabularies may lack bytes that their training text never held (SmolLM2: 21 control
  /// and invalid ones); such bytes get no token, as in Hugging Face's tokenizers.
  int num_known_bytes() const;

  std::int32_t find(std::string_view bytes) const;  ///< -1: no such token
  const std::string& bytes(std::int32_t id) const;
  std::int32_t num_ids() const { return static_cast<std::int32_t>(bytes_.size()); }
  /// Appends the ids of a word. `whole_words`: a word that is a token is taken as it is.
  void encode(std::string_view word, bool whole_words, TokenIds& out) const;

 private:
  struct Merge {
    std::int32_t rank, joined;
  };
  std::unordered_map<std::string, std::int32_t> ids_;
  std::vector<std::string> bytes_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::int32_t byte_ids_[256];
  int num_known_bytes_ = 0;
  void encode_short(std::string_view word, TokenIds& out) const;
  void encode_long(std::string_view word, TokenIds& out) const;
  const Merge* merge(std::int32_t left, std::int32_t right) const;

 public:
  void finish();  ///< after the last token
};

}  // namespace rluf
