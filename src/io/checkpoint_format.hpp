#pragma once
// The layout of a checkpoint file, for who writes it and who reads it.
#include <ATen/core/Tensor.h>
#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "rluf/parallel/process_grid.hpp"

namespace rluf::checkpoint_format {

/// Version of the layout, raised with every change of it.
/// 1: tensors/NAME, attributes/manifest with block checksums; values.identity
/// 2: identity and state beside each other in the manifest; tensors may be written as rows of different ranks
/// 3: about (facts for readers) in the manifest; training loops count their bad steps
constexpr int kVersion = 3;
/// Checksums cover blocks of this many elements, fixed by the tensor alone and not by who wrote it.
constexpr std::int64_t kBlockElements = std::int64_t{1} << 20;

/// Of these bytes, or of all with those before them, whose checksum is given.
inline std::uint32_t checksum(const void* data, std::size_t num_bytes, std::int64_t before = 0) {
  return static_cast<std::uint32_t>(crc32_z(static_cast<uLong>(before), static_cast<const Bytef*>(data), num_bytes));
}

/// Part of a block that lies in one rank's rows.
struct Piece {
  std::int64_t block, num_bytes, crc32;
};

/// Elements [first, last) of the flat global tensor, cut where a block ends; without checksums yet.
std::vector<Piece> pieces_of(std::int64_t element_bytes, Range elements);

inline std::int64_t elements_of_row(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) count *= shape[d];
  return count;
}

/// A tensor of no dimensions is stored as one row.
inline std::vector<std::int64_t> stored_shape(const std::vector<std::int64_t>& shape) {
  return shape.empty() ? std::vector<std::int64_t>{1} : shape;
}

inline std::string file_name(const std::string& folder, std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08ld.h5", static_cast<long>(step));
  return folder + "/" + name;
}

}  // namespace rluf::checkpoint_format
