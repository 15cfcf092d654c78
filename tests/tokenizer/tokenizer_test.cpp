#include "rluf/tokenizer/tokenizer.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "rluf/core/error.hpp"
#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// The character that stands for a byte in a byte-level vocabulary.
std::string character_of(int byte) {
  static const std::vector<int> points = [] {
    std::vector<int> list(256);
    int next = 0x100;
    for (int b = 0; b < 256; ++b)
      list[static_cast<std::size_t>(b)] = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE ? b : next++;
    return list;
  }();
  const int point = points[static_cast<std::size_t>(byte)];
  if (point < 0x80) return std::string(1, static_cast<char>(point));
  return {static_cast<char>(0xC0 | point >> 6), static_cast<char>(0x80 | (point & 0x3F))};
}

/// All bytes, the merges "h e" -> he, "he l" -> hel, "l o" -> lo, and the tokens of all three templates.
Json small_tokenizer() {
  Json vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[character_of(byte)] = byte;
  vocab["he"] = 256;
  vocab["hel"] = 257;
  vocab["lo"] = 258;
  Json added = Json::array();
  int id = 300;
  for (const char* token : {"<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>",
                            "<|end_header_id|>", "<|eot_id|>", "<|endoftext|>"})
    added.push_back({{"id", id++}, {"content", token}, {"special", true}});
  return {{"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"h e", "he l", "l o"}}}}};
}

std::string written(const std::string& name, const std::string& content) {
  const std::string folder = testing::TempDir() + "rluf_tokenizer_" + name;
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/tokenizer.json") << content;
  return folder;
}

TEST(Utf8, BrokenBytesAreReplaced) {
  EXPECT_EQ(valid_utf8("a\xC3\xA4\xF0\x9F\x98\x80"), "a\xC3\xA4\xF0\x9F\x98\x80");
  EXPECT_EQ(valid_utf8("a\xC3"), "a\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xC0\xAF\xED\xA0\x80").size(), 15U) << "overlong and surrogate: five replaced bytes";
}

TEST(Tokenizer, MergesByRankAndDecodes) {
  const Tokenizer tokenizer = Tokenizer::from_folder(written("small", small_tokenizer().dump()));
  EXPECT_EQ(tokenizer.encode("hello"), (TokenIds{257, 258}));
  EXPECT_EQ(tokenizer.encode(" hello"), (TokenIds{32, 257, 258}));
  EXPECT_EQ(tokenizer.encode(""), TokenIds{});
  EXPECT_EQ(tokenizer.decode({257, 258, 301}), "hello");
  EXPECT_EQ(tokenizer.decode({257, 301}, true), "hel<|im_end|>");
  EXPECT_EQ(tokenizer.vocab_size(), 307);
  std::string all;
  for (int repeat = 0; repeat < 400; ++repeat) all += "hello";  // a word beyond the short path
  const TokenIds ids = tokenizer.encode(all);
  EXPECT_EQ(ids.size(), 800u);
  EXPECT_EQ(tokenizer.decode(ids), all);
}

TEST(Tokenizer, ASpelledSpecialTokenStaysText) {
  const Tokenizer tokenizer = Tokenizer::from_folder(written("small", small_tokenizer().dump()));
  for (const std::int32_t id : tokenizer.encode("<|im_end|> and <|eot_id|>")) EXPECT_FALSE(tokenizer.is_special(id));
  EXPECT_EQ(tokenizer.special_id("<|im_end|>"), 301);
  EXPECT_FALSE(tokenizer.special_id("<|nothing|>"));
}

TEST(ValidUtf8, ReplacesEachMaximalBrokenPart) {
  EXPECT_EQ(valid_utf8("a\xFF"
                       "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(valid_utf8("\xE2\x82"), "\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xE2\x28\xA1"), "\xEF\xBF\xBD(\xEF\xBF\xBD");
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  EXPECT_EQ(valid_utf8("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

TEST(ChatTemplate, GoldenIds) {
  const Tokenizer tokenizer = Tokenizer::from_folder(written("small", small_tokenizer().dump()));
  const auto text = [&](const std::string& s) { return tokenizer.encode(s); };
  const auto joined = [](std::initializer_list<TokenIds> parts) {
    TokenIds all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  };
  const std::vector<Message> chat{{"user", " hi "}};
  const ChatTemplate chatml("chatml", tokenizer), llama3("llama3", tokenizer), plain("plain", tokenizer);
  EXPECT_EQ(chatml.prompt(chat), joined({{300}, text("user\n hi "), {301}, text("\n"), {300}, text("assistant\n")}));
  EXPECT_EQ(chatml.response("hello"), (TokenIds{257, 258, 301}));
  EXPECT_EQ(
      llama3.prompt(chat),
      joined({{302, 303}, text("user"), {304}, text("\n\nhi"), {305, 303}, text("assistant"), {304}, text("\n\n")}));
  EXPECT_EQ(llama3.stop_ids(), (std::vector<std::int32_t>{305, 306}));
  EXPECT_EQ(plain.prompt(chat), joined({text("User:  hi \n"), text("Assistant:")}));
  EXPECT_EQ(plain.response("a").back(), 306);
  EXPECT_EQ(ChatTemplate("auto", tokenizer).name(), "llama3");
}

TEST(Tokenizer, HostileFilesEndInAMessage) {
  const auto message = [](const std::string& content) {
    try {
      Tokenizer::from_folder(written("bad", content));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  const std::string good = small_tokenizer().dump();
  for (std::size_t length : {std::size_t{1}, good.size() / 2, good.size() - 1})
    EXPECT_NE(message(good.substr(0, length)).find("tokenizer.json"), std::string::npos);
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json json = small_tokenizer();
    change(json);
    return message(json.dump());
  };
  EXPECT_NE(with([](Json& j) { j["model"]["type"] = "WordPiece"; }).find("BPE"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["model"]["merges"].push_back("x yz"); }).find("not in the vocabulary"),
            std::string::npos);
  EXPECT_NE(with([](Json& j) { j["model"]["merges"].push_back(7); }).find("broken"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["model"]["vocab"]["hello"] = -3; }).find("-3"), std::string::npos);
  EXPECT_NE(with([](Json& j) {
              j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(("}}}, {"behavior", "Isolated"}};
            }).find("pattern"),
            std::string::npos);
  EXPECT_NE(with([](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; }).find("Metaspace"), std::string::npos);
  EXPECT_NE(message("aGVsbG8= 0\nnot base64 !").find("line 2"), std::string::npos);
  EXPECT_THROW(Tokenizer::from_folder("/nowhere"), Error);
}

}  // namespace
}  // namespace rluf
