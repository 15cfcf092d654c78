#pragma once
/// What tests of texts share: a tokenizer that needs no training.
#include <cstdint>
#include <filesystem>
#include <string>

#include "rluf/io/jsonl.hpp"

namespace rluf {

/// Makes FOLDER/tokenizer.json of single bytes and the marks of chatml. @return its number of ids
inline std::int64_t write_byte_tokenizer(const std::string& folder) {
  Json vocabulary = Json::object(), added = Json::array();
  int next = 0, shifted = 256;
  for (int byte = 0; byte < 256; ++byte) {  // the usual printable stand-ins for bytes
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : shifted++;
    std::string symbol;
    if (code >= 0x80) symbol += static_cast<char>(0xC0 | (code >> 6));
    symbol += static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3F));
    vocabulary[symbol] = next++;
  }
  for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"})
    added.push_back({{"id", next++},
                     {"content", token},
                     {"special", true},
                     {"normalized", false},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false}});
  const Json level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  std::filesystem::create_directories(folder);
  write_json(folder + "/tokenizer.json",
             {{"version", "1.0"},
              {"added_tokens", added},
              {"normalizer", nullptr},
              {"pre_tokenizer", level},
              {"post_processor", nullptr},
              {"decoder", level},
              {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}});
  return next;
}

}  // namespace rluf
