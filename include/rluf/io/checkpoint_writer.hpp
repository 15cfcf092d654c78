#pragma once
/// Writes checkpoints while training goes on.
#include <ATen/core/Tensor.h>

#include <future>
#include <memory>
#include <vector>

#include "rluf/io/checkpoint.hpp"

namespace rluf {

/// What of the state lies in memory is copied by a thread of each rank while the next step computes its gradients, and
/// only the update has to wait for that copy (as in DataStates-LLM, HPDC 2024). The thread then writes the bytes,
/// without MPI and HDF5, to the places that HDF5 gave the tensors. @memory a copy of this rank's rows, kept for the
/// next checkpoint
class CheckpointWriter {
 public:
  CheckpointWriter(std::string folder, const Communicator& comm, const Retention& retention);
  ~CheckpointWriter();  ///< an unfinished file is removed
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Begins to write FOLDER/step_00000120.h5; a former one that is not complete yet is waited for. @collective
  /// @throws Error(kBadInput) if the disk has no room, before anything is written
  void begin(const CheckpointHeader& header, const DescribeState& describe);
  /// Has to be called before a described tensor changes: returns when the copy is whole. Local.
  void state_will_change();
  /// Once every rank has written, synced and read back its part: the file gets its checksums, and then, by a thread
  /// again, its name; after that what `retention` does not keep goes. To be asked at every step. @collective
  /// @throws Error(kBadData) if a rank could not write; the file is removed, earlier ones are untouched
  void poll();
  /// Until it is complete. @collective @throws as poll()
  void wait();

  struct Figures {
    std::int64_t step = -1;  ///< of the newest complete checkpoint; -1: none yet
    std::int64_t num_bytes = 0;
    double seconds = 0;             ///< of work on the slowest rank, from begin to the name, without waits for a poll
    double standstill_seconds = 0;  ///< that the loop waited
  };
  const Figures& figures() const { return figures_; }

 private:
  struct Writing;
  void advance();  ///< to what comes after the thread's work, which is done on every rank
  void write_manifest();
  void announce(double start);
  std::string folder_;
  Communicator comm_;
  Retention retention_;
  std::unique_ptr<Writing> writing_;  ///< in flight
  std::future<void> pruning_;         ///< on rank 0: files that are not kept any more go
  std::vector<at::Tensor> buffers_;   ///< of the last checkpoint
  Figures figures_;
};

}  // namespace rluf
