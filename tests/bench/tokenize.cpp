// tokenize TOKENIZER_FILE TEXTS.json: a process that waits for work, so that its runs can alternate with a peer's.
// For each line of the input it encodes all texts and prints {"seconds", "tokens"}; the line "ids" prints all ids too.
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "rluf/tokenizer/tokenizer.hpp"

using nlohmann::json;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const rluf::Tokenizer tokenizer = rluf::Tokenizer::from_file(argv[1]);
    const auto texts = json::parse(std::ifstream(argv[2])).get<std::vector<std::string>>();
    for (std::string line; std::getline(std::cin, line);) {
      std::vector<rluf::TokenIds> ids;
      const auto start = std::chrono::steady_clock::now();
      for (const std::string& text : texts) ids.push_back(tokenizer.encode(text));
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      std::size_t tokens = 0;
      for (const auto& one : ids) tokens += one.size();
      json result{{"seconds", seconds.count()}, {"tokens", tokens}};
      if (line == "ids") result["ids"] = ids;
      std::cout << result << std::endl;
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
