#pragma once
/// Pairs out of rows that are one response each.
#include "row_order.hpp"

namespace rluf {

/// Why a pair is not written; Row::dropped is the position in this list, from 1.
inline const std::vector<std::string> kDroppedPairs{"identical_responses", "contradicting_scores"};
constexpr std::int32_t kIdenticalResponses = 1, kContradictingScores = 2;

/// Rows of two texts out of everyone's rows of one: within a prompt (Row::key) by best_against_worst of Row::value.
/// Row::user is a hash of the response, which finds pairs of equal ones. A pair has the line of its better response,
/// and the difference of the values if `with_margin`. The same for every number of ranks. @collective @memory the rows
/// of one prompt, without their texts
Rows pair_up(const Rows& responses, bool with_margin, const Communicator& comm);

}  // namespace rluf
