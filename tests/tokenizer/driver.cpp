// Driver of the oracle test: driver TOKENIZER_FILE TEXTS.json OUT.json
// TEXTS.json is a list of strings as latin-1 code points for bytes; OUT.json gets {"ids": [...], "texts": [decoded
// bytes]}.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "rluf/tokenizer/chat_template.hpp"

using nlohmann::json;

int main(int, char** argv) {
  try {
    const rluf::Tokenizer tokenizer = rluf::Tokenizer::from_file(argv[1]);
    json in = json::parse(std::ifstream(argv[2])), out{{"ids", json::array()}, {"bytes", json::array()}};
    for (const auto& bytes : in.at("texts")) {
      std::string text;
      for (const int byte : bytes) text += static_cast<char>(byte);
      const auto ids = tokenizer.encode(text);
      out["ids"].push_back(ids);
      std::vector<int> decoded;
      for (const unsigned char c : tokenizer.decode(ids)) decoded.push_back(c);
      out["bytes"].push_back(decoded);
    }
    if (in.contains("chats")) {
      const rluf::ChatTemplate chat("auto", tokenizer);
      for (const auto& messages : in["chats"]) {
        std::vector<rluf::Message> list;
        for (const auto& message : messages) list.push_back({message.at("role"), message.at("content")});
        out["chats"].push_back(chat.prompt(list));
      }
    }
    std::ofstream(argv[3]) << out;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
