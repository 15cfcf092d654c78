#pragma once
/// How much memory tensors without storage would take.
#include <cstdint>

namespace rluf {

/// Counts the bytes of meta tensors of each thread as long as it lives.
class MetaMemory {
 public:
  /// `fuses_norms`: norms keep for backward what they keep on a GPU, otherwise what they keep on a CPU.
  explicit MetaMemory(bool fuses_norms);
  ~MetaMemory();
  MetaMemory(const MetaMemory&) = delete;
  MetaMemory& operator=(const MetaMemory&) = delete;
};

/// Of this thread, since the last reset. @unit bytes
std::int64_t meta_peak_bytes();
/// The peak is what there is now.
void reset_meta_peak();

}  // namespace rluf
