#pragma once
/// How good P[Love] is part by part of the hold-out: by use case, position in the conversation, length, time, and what
/// else users did. Pure functions.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/pipeline/dataset/examples.hpp"

namespace rluf {

/// @shape all [num_rows]
struct HeldOutRows {
  const std::vector<double>&logits, &labels;  ///< calibrated log-odds, 0 or 1
  const std::vector<std::int64_t>&users, &timestamps;
  const std::vector<double>& tokens;  ///< of the response
};

/// Rows that are looked at together. The slices of one `by` hold every row once, but for "signal": there a row stands
/// with each of its other signals, or under "none".
struct Slice {
  std::string by, name;
  std::vector<std::size_t> rows;
};
/// by "use_case" (the largest twelve, all others together), "position" (1, 2-3, 4 and later), "length" (thirds), "time"
/// (quarters of the hold-out), "signal".
std::vector<Slice> slices_of(const HeldOutRows& rows, const std::vector<ResponseFacts>& facts);

struct SliceBootstrap {
  int num_replicates;
  std::uint64_t seed;
};
/// Of a slice: examples, positives, rate, mean probability, AUROC, ECE, observed_to_expected (sum of labels over sum
/// of probabilities; 1 is calibrated), with intervals that resample users if there are five positives, and a
/// reliability curve of five bins.
nlohmann::json slice_row(const HeldOutRows& rows, const Slice& slice, const SliceBootstrap& bootstrap);
/// The later half of the hold-out against the earlier one: change of AUROC, and of the logarithm of
/// observed_to_expected.
nlohmann::json drift(const HeldOutRows& rows, const SliceBootstrap& bootstrap);

}  // namespace rluf
