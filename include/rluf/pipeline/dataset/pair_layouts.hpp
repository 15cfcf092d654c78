#pragma once
/// Preference sets in their public layouts. A file has one, which its first row shows.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rluf/tokenizer/messages.hpp"

namespace rluf {

/// | layout | prompt | responses |
/// | --- | --- | --- |
/// | responses | prompt or messages | chosen, rejected: texts, or lists of one message of the assistant |
/// | conversations | what both lists begin with | chosen, rejected: whole lists of messages |
/// | transcripts | what both texts begin with | chosen, rejected: "\n\nHuman: ... \n\nAssistant: ..." |
/// | labelled | prompt or messages | completion or response, and label: good (true, 1) or bad (false, 0) |
/// | scored | prompt or messages | completion or response, and score, the higher the better |
enum class PairLayout { kResponses, kConversations, kTranscripts, kLabelled, kScored };

std::string layout_name(PairLayout layout);
/// A row is one response, which finds its partner among the others to its prompt.
bool is_unpaired(PairLayout layout);
/// The layout that the fields of a row and their types have, if any. A label goes before a score.
std::optional<PairLayout> layout_of(const nlohmann::json& row);
/// That of the first row. Not collective. @throws Error(kBadInput) if the file is missing, Error(kBadData) naming
/// FILE:LINE if the row has none of the layouts, or without rows
PairLayout layout_of_file(const std::string& path);

/// Two responses to one prompt.
struct PreferencePair {
  std::vector<Message> prompt;
  std::string chosen, rejected;
  double margin = 0;  ///< the field margin, or score_chosen - score_rejected; 0 without them
};
/// One response and how good it is.
struct RatedResponse {
  std::vector<Message> prompt;
  std::string response;
  double score = 0;  ///< of a label 0 or 1
};
/// A row of a layout with pairs. @throws Error(kBadData) naming FILE:LINE if it has another layout, if chosen and
/// rejected share no beginning or part before the last message, or if roles are not those of a prompt and its response
PreferencePair read_pair(const nlohmann::json& row, PairLayout layout, const std::string& path, std::int64_t line);
/// A row of an unpaired layout. @throws Error(kBadData) as read_pair
RatedResponse read_rated(const nlohmann::json& row, PairLayout layout, const std::string& path, std::int64_t line);

/// Partners among the responses to one prompt, (better, worse) by position: the best with the worst, the second best
/// with the second worst, as long as their scores differ; of equal scores the earlier counts as better. Each response
/// is in one pair at most.
std::vector<std::pair<std::size_t, std::size_t>> best_against_worst(const std::vector<double>& scores);

}  // namespace rluf
