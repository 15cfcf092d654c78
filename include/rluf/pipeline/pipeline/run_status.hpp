#pragma once
/// What a running job leaves for `rluf status`: the lock with its heartbeat, status.json, starts.jsonl.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "rluf/io/run_directory.hpp"
#include "rluf/io/run_lock.hpp"

namespace rluf {

class RunStatus {
 public:
  /// Takes the lock and begins to write the status every few seconds (rank 0). `start`: facts of this start.
  /// @collective @throws Error(kBadInput) if another job works on the directory
  RunStatus(const RunDirectory& directory, const nlohmann::json& start, const Communicator& comm);
  ~RunStatus();  ///< gives the lock back; without end() before, the status says "failed"
  RunStatus(const RunStatus&) = delete;
  RunStatus& operator=(const RunStatus&) = delete;
  /// The last word: "done", "stopped" or "failed", and why.
  void end(const std::string& state, const std::string& message = "");

 private:
  void beat();
  void write(const std::string& state, const std::string& message) const;
  std::string path_;
  nlohmann::json start_;
  std::unique_ptr<RunLock> lock_;
  bool ended_ = false, quit_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::thread thread_;
};

/// `rluf status RUN`: prints what the job is doing, from files alone. Needs no MPI and does not disturb the job.
void tool_status(const std::vector<std::string>& operands);
/// `rluf request RUN checkpoint|stop`: leaves a request that the job obeys at the end of its step. Needs no MPI.
/// @throws Error(kBadInput) if no job works on the directory
void tool_request(const std::vector<std::string>& operands);

/// `rluf summary RUN ...`: what came out of several runs, as CSV, with means over them. Needs no MPI.
void tool_summary(const std::vector<std::string>& operands);

}  // namespace rluf
