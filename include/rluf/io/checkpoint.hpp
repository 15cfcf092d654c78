#pragma once
/// Checkpoints: one parallel HDF5 file each, one dataset a tensor with its global shape, so that any number of ranks
/// reads what any number wrote; the rest is JSON in an attribute.
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rluf/io/hdf5_file.hpp"

namespace rluf {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// A component's state in both directions: its describe(StateArchive&) names every member once, and the same function
/// writes and reads them.
class StateArchive {
 public:
  virtual ~StateArchive() = default;
  virtual void number(const std::string& name, std::int64_t& value) = 0;
  virtual void json(const std::string& name, nlohmann::json& value) = 0;
  /// Equal on all ranks. Reading fills a tensor of the same shape, or makes an undefined one.
  virtual void tensor(const std::string& name, at::Tensor& tensor) = 0;
  /// These rows of a tensor of that global shape. Writing: the ranks' rows are all rows, each once; reading: any.
  virtual void rows(const std::string& name, at::Tensor& mine, const std::vector<std::int64_t>& shape, Range which) = 0;
  virtual bool is_reading() const = 0;
};
using DescribeState = std::function<void(StateArchive&)>;

struct CheckpointHeader {
  std::string stage;
  std::int64_t step = 0;
  nlohmann::json identity;    ///< what the state depends on: a run with another identity must not continue from it
  nlohmann::json about = {};  ///< facts for readers, nothing that a restart depends on
};

/// How checkpoints are written, and which stay in a folder when a new one is complete.
struct Retention {
  std::int64_t keep_last = 2;
  std::int64_t keep_every = 0;  ///< also those whose step is a multiple of it; 0: none
  bool background = true;       ///< written while training goes on
};

/// FOLDER/step_00000120.h5, complete once it has that name; older ones beyond `retention` are removed after that.
/// CheckpointWriter (checkpoint_writer.hpp) does the same while training goes on. @collective
/// @throws Error(kBadInput) if the disk has no room, before anything is written
void write_checkpoint(const std::string& folder, const CheckpointHeader& header, const DescribeState& describe,
                      const Communicator& comm, const Retention& retention = {});

/// A complete checkpoint, open for reading, every checksum verified.
class Checkpoint {
 public:
  /// Each rank verifies its share. @collective @throws Error(kBadData) if it does not verify
  Checkpoint(const std::string& path, const Communicator& comm);
  /// The newest of the folder that verifies; says which were skipped and why. Nothing if there is none. @collective
  static std::optional<Checkpoint> newest(const std::string& folder, const Communicator& comm);

  const CheckpointHeader& header() const { return header_; }
  const nlohmann::json& manifest() const { return manifest_; }
  const std::string& path() const { return file_.path(); }
  /// Gives the described members what was written. Each rank reads its own rows; not collective.
  /// @throws Error(kBadData) naming what is missing or has another shape
  void restore(const DescribeState& describe) const;
  std::vector<std::string> tensor_names() const;
  at::Tensor read(const std::string& name) const;

 private:
  Communicator comm_;
  Hdf5File file_;
  nlohmann::json manifest_;
  CheckpointHeader header_;
};

/// @throws Error(kBadData) naming the differences, if the checkpoint is of another run than `identity`
void check_identity(const CheckpointHeader& header, const nlohmann::json& identity);

/// Complete checkpoints of a folder, newest first. Not collective.
std::vector<std::string> list_checkpoints(const std::string& folder);
/// Removes all that `retention` does not keep. @return their paths. Not collective.
std::vector<std::string> prune_checkpoints(const std::string& folder, const Retention& retention);

}  // namespace rluf
