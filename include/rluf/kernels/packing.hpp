#pragma once
/// Packing of examples of different lengths into micro-batches without padding, and the masks that follow from it.
#include <cstdint>
#include <span>
#include <vector>

namespace rluf {

/// Splits the examples, in the given order, into micro-batches of at most `max_tokens` tokens (an example longer than
/// that stands alone). Greedy and sequential, so the result is a pure function of its arguments.
/// @return for each micro-batch the positions [first, last) in `lengths`
struct PackRange {
  std::int64_t first, last;
};
std::vector<PackRange> pack_ranges(std::span<const std::int64_t> lengths, std::int64_t max_tokens);

/// Position of each token in its own document. @shape out [num_tokens], offsets [num_documents + 1]
void document_positions(std::span<const std::int64_t> offsets, std::span<std::int64_t> out);
/// Index of the document of each token. Same shapes.
void document_ids(std::span<const std::int64_t> offsets, std::span<std::int64_t> out);

}  // namespace rluf
