#pragma once
/// The safetensors format: memory-mapped reading, sharded index, writing.
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rluf/io/checkpoint.hpp"

namespace rluf {

/// The weights of a Hugging Face folder: model.safetensors, or the shards named in model.safetensors.index.json.
class SafetensorsFolder {
 public:
  /// Reads and checks the headers only (sizes, overlaps, bounds, types F32 F16 BF16 I64 I32 U8).
  /// @throws Error(kBadInput) for a missing shard, a truncated or hostile header
  explicit SafetensorsFolder(const std::string& folder);
  ~SafetensorsFolder();
  bool has(const std::string& name) const;
  std::vector<std::string> names() const;
  std::vector<std::int64_t> shape(const std::string& name) const;
  at::ScalarType type(const std::string& name) const;
  /// A copy on the CPU in the stored type.
  at::Tensor read(const std::string& name) const;
  /// The same of some of its rows (dimension 0); no others are read.
  at::Tensor read_rows(const std::string& name, Range rows) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TensorHeader {
  std::string name;
  std::vector<std::int64_t> shape;
  at::ScalarType type = at::kFloat;
};

/// Writes STEM.safetensors (or shards of at most `max_shard_bytes` with an index), atomically. `tensor(i)` gives
/// tensor i as its header says; it is asked for once each, in order. Not collective.
void write_safetensors(const std::string& folder, const std::vector<TensorHeader>& headers,
                       const std::function<at::Tensor(std::size_t)>& tensor,
                       std::int64_t max_shard_bytes = 5'000'000'000, const std::string& stem = "model");
void write_safetensors(const std::string& folder, const NamedTensors& tensors,
                       std::int64_t max_shard_bytes = 5'000'000'000);

}  // namespace rluf
