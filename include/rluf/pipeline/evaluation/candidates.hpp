#pragma once
/// What candidates answered: response files on disk, or model folders that are asked.
#include <cstdint>
#include <string>
#include <vector>

#include "rluf/tokenizer/chat_template.hpp"

namespace rluf {

/// One candidate's responses; response i answers prompt i of the common list.
struct Candidate {
  std::string name, path;
  bool is_model = false;
  std::vector<std::string> responses;
};

struct CandidateSet {
  std::vector<std::vector<Message>> prompts;
  std::vector<Candidate> candidates;  ///< in the order of names
  /// Number of each prompt's user from 0, where a row of the first file has a user_id (a row without one is a user of
  /// its own). @shape [num_prompts], or empty: users are not known
  std::vector<std::int64_t> users;
};

/// Finds the candidates that `data.candidates` names: model folders and response files, or folders of these.
/// Responses are not read yet. @throws Error(kBadInput) if a part is missing or holds no candidate, or a name is there
/// twice
std::vector<Candidate> find_candidates(const std::string& option);

/// Reads the response files of `found` (at most `max_prompts` rows of each; 0: all) and checks that they answer the
/// same prompts in the same order. Model folders stay without responses; `prompts` stays empty if there are only those.
/// @throws Error(kBadData) naming the first prompt that differs
CandidateSet read_responses(std::vector<Candidate> found, std::int64_t max_prompts);

}  // namespace rluf
