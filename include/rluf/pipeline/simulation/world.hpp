#pragma once
/// A small chat world with known truth: topics, users with hidden taste (warmth, usefulness, length, closings), old
/// policies that answered them, and the true helpfulness and safety of any response. Its parameters are documented in
/// world.json; the same world serves every arm of an experiment.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

/// What can be read off a response's text, by the world's own rules.
struct ResponseTruth {
  double helpfulness = 0;   ///< 0..1
  double safety = 0;        ///< 0..1
  double warmth = 0;        ///< 0..1
  bool closing = false;     ///< ends the conversation with a goodbye ("bye", "sending love", ...)
  std::int64_t num_words = 0;
};

class World {
 public:
  static World from_file(const std::string& path);  ///< world.json of the simulate stage
  ResponseTruth judge(const std::vector<Message>& prompt, const std::string& response) const;
  std::int64_t num_users() const;
  /// Chance that this user gives a heart to this response, given its truth. Pure function.
  double love_probability(std::int64_t user, const std::vector<Message>& prompt, const ResponseTruth& truth) const;
  /// Prompt that a user asks in conversation `conversation`: a pure function of the world's seed and its arguments.
  std::vector<Message> prompt_of(std::int64_t user, std::int64_t conversation) const;

 private:
  nlohmann::json parameters_;
};

}  // namespace rluf
