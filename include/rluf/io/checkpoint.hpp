#pragma once
/// Checkpoints: one parallel HDF5 file each, one dataset a tensor with its global shape, a JSON attribute with the
/// rest.
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rluf/io/hdf5_file.hpp"

namespace rluf {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct CheckpointState {
  std::string stage;
  std::int64_t step = 0;
  nlohmann::json values;  ///< random position, options, counters
  NamedTensors tensors;   ///< equal on all ranks of comm; each rank writes its share of the elements
};

/// The manifest of an open checkpoint, its checksum verified. @throws Error(kBadData)
nlohmann::json read_manifest(const Hdf5File& file);

/// FOLDER/step_00000120.h5, complete once it has that name; keeps the newest `keep_last`. @collective
void write_checkpoint(const std::string& folder, const CheckpointState& state, const Communicator& comm,
                      int keep_last = 2);
/// The newest checkpoint that verifies (checksums of every tensor); says which were skipped and why. @collective
/// @return nothing if the folder holds none; tensors are read into new CPU tensors
std::optional<CheckpointState> read_newest_checkpoint(const std::string& folder, const Communicator& comm);
/// @throws Error(kBadData) if it does not verify. @collective
CheckpointState read_checkpoint(const std::string& path, const Communicator& comm);

}  // namespace rluf
