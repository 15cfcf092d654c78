#include "rluf/tokenizer/tokenizer.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "byte_pairs.hpp"
#include "rluf/core/error.hpp"
#include "word_splitter.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::int32_t kMostIds = 4'000'000;
constexpr std::size_t kCachedWords = 1 << 16;
constexpr std::size_t kLongestCachedWord = 32;

[[noreturn]] void fail_file(const std::string& path, const std::string& problem) {
  fail_input(concat(path, ": ", problem), "it is no byte-level BPE tokenizer that rluf reads",
             "use the tokenizer.json of a Llama 3 or SmolLM2 kind of model");
}

/// The printable characters that stand for the 256 bytes in a byte-level vocabulary. @source GPT-2's encoder
std::vector<std::int32_t> byte_of_character() {
  std::vector<std::int32_t> bytes(0x200, -1);
  std::int32_t next = 0x100;
  for (std::int32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    bytes[static_cast<std::size_t>(printable ? byte : next++)] = byte;
  }
  return bytes;
}

/// The bytes of a vocabulary entry. @throws Error if it has a character that stands for no byte
std::string bytes_of_entry(const std::string& entry, const std::string& path) {
  static const std::vector<std::int32_t> table = byte_of_character();
  std::string bytes;
  for (std::size_t i = 0; i < entry.size();) {
    const auto first = static_cast<unsigned char>(entry[i]);
    std::uint32_t character = first;
    if (first >= 0x80) {
      if ((first & 0xE0) != 0xC0 || i + 1 >= entry.size())
        fail_file(path, concat("the vocabulary entry \"", entry, "\" is not byte-level"));
      character = (first & 0x1Fu) << 6 | (static_cast<unsigned char>(entry[i + 1]) & 0x3Fu);
      ++i;
    }
    ++i;
    if (character >= table.size() || table[character] < 0)
      fail_file(path, concat("the vocabulary entry \"", entry, "\" is not byte-level"));
    bytes += static_cast<char>(table[character]);
  }
  return bytes;
}

std::string decode_base64(std::string_view text, const std::string& path, long line) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (c >= '0' && c <= '9') value = c - '0' + 52;
    if (c == '+') value = 62;
    if (c == '/') value = 63;
    if (c == '=') break;
    if (value < 0) fail_file(path, concat("line ", line, " is not base64 and a rank"));
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xFF);
    }
  }
  return bytes;
}

}  // namespace

struct Tokenizer::Impl {
  std::string path;
  BytePairs pairs;
  WordSplitter splitter;
  bool whole_words = false, add_prefix_space = false;
  std::map<std::string, std::int32_t> special_ids;
  std::map<std::int32_t, std::string> special_texts;
  std::int32_t vocab_size = 0;
  /// Words seen before; text is mostly made of few of them. Cleared when full, so memory stays bounded.
  mutable std::unordered_map<std::string, TokenIds> cache;

  void add_special(const std::string& text, std::int32_t id) {
    if (id < 0 || id > kMostIds) fail_file(path, concat("the added token \"", text, "\" has the id ", id));
    special_ids[text] = id;
    special_texts[id] = text;
    vocab_size = std::max(vocab_size, id + 1);
  }
  void read_json(const Json& json);
  void read_pre_tokenizer(const Json& json);
  void read_model(const std::string& content);
  void finish() {
    pairs.finish();
    if (pairs.num_known_bytes() < 128) fail_file(path, "the vocabulary does not start from single bytes");
    vocab_size = std::max(vocab_size, pairs.num_ids());
  }
};

void Tokenizer::Impl::read_pre_tokenizer(const Json& json) {
  const std::string type = json.is_object() ? json.value("type", "") : "";
  if (type == "Sequence") {
    for (const Json& part : json.at("pretokenizers")) read_pre_tokenizer(part);
  } else if (type == "Split") {
    const Json& pattern = json.at("pattern");
    if (!pattern.contains("Regex") || json.value("behavior", "") != "Isolated" || json.value("invert", false))
      fail_file(path, "its Split pre-tokenizer is of an unsupported form");
    splitter.add(pattern.at("Regex").get<std::string>(), path);
  } else if (type == "Digits") {
    splitter.add(json.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", path);
  } else if (type == "ByteLevel") {
    add_prefix_space = json.value("add_prefix_space", true);
    if (json.value("use_regex", true)) splitter.add(kGpt2Pattern, path);
  } else {
    fail_file(path, concat("the pre-tokenizer \"", type, "\" is not supported"));
  }
}

void Tokenizer::Impl::read_json(const Json& json) {
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object()) fail_file(path, "it has no model");
  const Json& model = json["model"];
  if (model.value("type", "BPE") != "BPE" || !model.contains("vocab") || !model.contains("merges"))
    fail_file(path, "its model is not BPE");
  if (model.value("byte_fallback", false))
    fail_file(path, "it falls back to bytes (SentencePiece) instead of starting from them");
  if (json.contains("normalizer") && !json["normalizer"].is_null()) fail_file(path, "it normalises text");
  whole_words = model.value("ignore_merges", false);
  std::map<std::string, std::int32_t> added;
  for (const Json& token : json.value("added_tokens", Json::array()))
    added[token.at("content").get<std::string>()] = token.at("id").get<std::int32_t>();
  std::unordered_map<std::string, std::int32_t> entries;
  for (const auto& [entry, id_value] : model["vocab"].items()) {
    const auto id = id_value.get<std::int64_t>();
    if (id < 0 || id > kMostIds) fail_file(path, concat("the vocabulary entry \"", entry, "\" has the id ", id));
    if (added.contains(entry)) continue;  // placed by templates only
    entries[entry] = static_cast<std::int32_t>(id);
    pairs.add_token(bytes_of_entry(entry, path), static_cast<std::int32_t>(id));
  }
  std::int32_t rank = 0;
  for (const Json& merge : model["merges"]) {
    std::string left, right;
    if (merge.is_string()) {
      const auto text = merge.get<std::string>();
      const std::size_t space = text.find(' ');
      left = text.substr(0, space);
      right = space == std::string::npos ? "" : text.substr(space + 1);
    } else {
      left = merge.at(0).get<std::string>();
      right = merge.at(1).get<std::string>();
    }
    const auto a = entries.find(left), b = entries.find(right), joined = entries.find(left + right);
    if (a == entries.end() || b == entries.end() || joined == entries.end())
      fail_file(path, concat("the merge \"", left, " ", right, "\" names tokens that are not in the vocabulary"));
    pairs.add_merge(a->second, b->second, joined->second, rank++);
  }
  for (const auto& [text, id] : added) add_special(text, id);
  if (!json.contains("pre_tokenizer") || json["pre_tokenizer"].is_null()) fail_file(path, "it has no pre-tokenizer");
  read_pre_tokenizer(json["pre_tokenizer"]);
}

/// Llama 3's tokenizer.model: a line a token, base64 bytes and rank; special tokens follow the last rank.
void Tokenizer::Impl::read_model(const std::string& content) {
  std::istringstream stream(content);
  std::string line;
  for (long number = 1; std::getline(stream, line); ++number) {
    if (line.empty()) continue;
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || line.size() - space > 9 ||
        line.find_first_not_of("0123456789\r", space + 1) != std::string::npos || space + 1 == line.size())
      fail_file(path, concat("line ", number, " is not base64 and a rank"));
    const int rank = std::atoi(line.c_str() + space);
    if (rank > kMostIds) fail_file(path, concat("line ", number, " has an absurd rank"));
    pairs.add_token(decode_base64(std::string_view(line).substr(0, space), path, number), rank);
  }
  pairs.add_merges_by_rank();
  whole_words = true;
  splitter.add(kLlama3Pattern, path);
  // Llama 3.1's names; the rest of the 256 places is reserved.
  const std::map<int, std::string> named{
      {0, "<|begin_of_text|>"},   {1, "<|end_of_text|>"},   {4, "<|finetune_right_pad_id|>"},
      {6, "<|start_header_id|>"}, {7, "<|end_header_id|>"}, {8, "<|eom_id|>"},
      {9, "<|eot_id|>"},          {10, "<|python_tag|>"}};
  const std::int32_t first = pairs.num_ids();
  for (int i = 0, reserved = 0; i < 256; ++i) {
    const auto found = named.find(i);
    add_special(found != named.end() ? found->second : concat("<|reserved_special_token_", reserved++, "|>"),
                first + i);
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_folder(const std::string& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "original/tokenizer.model"})
    if (std::filesystem::exists(folder + "/" + name)) return from_file(folder + "/" + name);
  fail_input(concat(folder, " holds neither tokenizer.json nor tokenizer.model"), "text cannot become tokens",
             "copy the model's tokenizer into the folder");
}

Tokenizer Tokenizer::from_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  if (!file) fail_input(concat("cannot open ", path), "it is missing or may not be read", "check the path");
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  const std::string text = content.str();
  if (text.find_first_not_of(" \t\r\n") != std::string::npos && text[text.find_first_not_of(" \t\r\n")] == '{') {
    try {
      impl->read_json(Json::parse(text));
    } catch (const Json::exception& error) {
      fail_file(path, concat("it is broken (", error.what(), ")"));
    }
  } else {
    impl->read_model(text);
  }
  impl->finish();
  return Tokenizer(std::move(impl));
}

TokenIds Tokenizer::encode(std::string_view text) const {
  std::string valid = valid_utf8(text);
  if (impl_->add_prefix_space && !valid.empty() && valid[0] != ' ') valid.insert(0, " ");
  TokenIds ids;
  ids.reserve(valid.size() / 3);
  impl_->splitter.split(valid, [&](std::string_view word) {
    if (word.size() > kLongestCachedWord) {
      impl_->pairs.encode(word, impl_->whole_words, ids);
      return;
    }
    if (impl_->cache.size() >= kCachedWords) impl_->cache.clear();
    auto [entry, is_new] = impl_->cache.try_emplace(std::string(word));
    if (is_new) impl_->pairs.encode(word, impl_->whole_words, entry->second);
    ids.insert(ids.end(), entry->second.begin(), entry->second.end());
  });
  return ids;
}

std::string Tokenizer::decode(const TokenIds& ids, bool with_special) const {
  std::string text;
  for (const std::int32_t id : ids) {
    const auto special = impl_->special_texts.find(id);
    if (special == impl_->special_texts.end()) {
      text += impl_->pairs.bytes(id);
    } else if (with_special) {
      text += special->second;
    }
  }
  return text;
}

std::optional<std::int32_t> Tokenizer::special_id(const std::string& token) const {
  const auto found = impl_->special_ids.find(token);
  return found == impl_->special_ids.end() ? std::nullopt : std::optional(found->second);
}

bool Tokenizer::is_special(std::int32_t id) const { return impl_->special_texts.contains(id); }
std::int32_t Tokenizer::vocab_size() const { return impl_->vocab_size; }
const std::string& Tokenizer::path() const { return impl_->path; }

}  // namespace rluf
