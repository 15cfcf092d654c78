// A byte-level BPE made for the world's words, in the format of Hugging Face tokenizers.
#include <array>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/simulation/simulate.hpp"
#include "rluf/pipeline/simulation/vocabulary.hpp"

namespace rluf {
namespace {

/// GPT-2's printable stand-in of each byte, as UTF-8. @source Radford et al. 2019, byte-level BPE
std::array<std::string, 256> byte_symbols() {
  std::array<std::string, 256> symbols;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : next++;
    std::string& symbol = symbols[static_cast<std::size_t>(byte)];
    if (code < 0x80) {
      symbol = static_cast<char>(code);
    } else {
      symbol = static_cast<char>(0xC0 | (code >> 6));
      symbol += static_cast<char>(0x80 | (code & 0x3F));
    }
  }
  return symbols;
}

/// Adds merges until each word is one token. Later merges rank lower, so they never undo a word that is whole.
class MergeList {
 public:
  void add_word(const std::string& word) {
    std::vector<std::string> parts;
    for (const char c : word) parts.push_back(symbols_[static_cast<unsigned char>(c)]);
    while (parts.size() > 1) {
      std::size_t best = 0;
      int best_rank = static_cast<int>(merges_.size());
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const auto found = ranks_.find({parts[i], parts[i + 1]});
        if (found != ranks_.end() && found->second < best_rank) {
          best = i;
          best_rank = found->second;
        }
      }
      const std::pair<std::string, std::string> pair{parts[best], parts[best + 1]};
      if (best_rank == static_cast<int>(merges_.size())) {
        ranks_[pair] = best_rank;
        merges_.push_back(pair);
      }
      for (std::size_t i = 0; i + 1 < parts.size(); ++i)
        if (parts[i] == pair.first && parts[i + 1] == pair.second) {
          parts[i] += parts[i + 1];
          parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        }
    }
  }
  const std::vector<std::pair<std::string, std::string>>& merges() const { return merges_; }
  const std::array<std::string, 256>& symbols() const { return symbols_; }

 private:
  std::array<std::string, 256> symbols_ = byte_symbols();
  std::vector<std::pair<std::string, std::string>> merges_;
  std::map<std::pair<std::string, std::string>, int> ranks_;
};

/// Every text the world can say, in a fixed order.
std::vector<std::string> world_texts() {
  std::vector<std::string> texts{"user assistant system", "what about the for and tell me about",
                                 "use is best first get the and then the"};
  for (const auto* list :
       {&harmful_requests(), &harmful_places(), &harmful_subjects(), &harmful_words(), &warm_phrases(),
        &padding_phrases(), &closing_phrases(), &refusal_phrases(), &vague_phrases()})
    texts.insert(texts.end(), list->begin(), list->end());
  for (const Topic& topic : topics()) {
    texts.push_back(topic.request);
    texts.insert(texts.end(), topic.subjects.begin(), topic.subjects.end());
    for (const Aspect& aspect : topic.aspects)
      for (const std::string* word : {&aspect.name, &aspect.first, &aspect.second}) texts.push_back(*word);
  }
  return texts;
}

}  // namespace

nlohmann::json world_tokenizer() {
  MergeList list;
  for (const std::string& text : world_texts())
    for (const std::string& word : words_of(text)) {
      list.add_word(word);
      list.add_word(" " + word);
    }
  for (const char* mark : {" .", " ,", " ?", " !", " :"}) list.add_word(mark);
  nlohmann::json vocabulary = nlohmann::json::object(), merges = nlohmann::json::array();
  int next = 0;
  for (const std::string& symbol : list.symbols()) vocabulary[symbol] = next++;
  for (const auto& [left, right] : list.merges()) {
    merges.push_back(left + " " + right);
    if (!vocabulary.contains(left + right)) vocabulary[left + right] = next++;
  }
  nlohmann::json added = nlohmann::json::array();
  for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"})
    added.push_back({{"id", next++},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  const nlohmann::json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

}  // namespace rluf
