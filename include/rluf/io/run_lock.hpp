#pragma once
/// One job at a time on a run directory: a lock file with a heartbeat, because flock is not reliable on every parallel
/// file system. Not collective: rank 0 alone holds it.
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace rluf {

/// Who holds the lock: host, pid, job of the batch system, start time, and what tells whether the pid is still that
/// process.
nlohmann::json lock_holder();

class RunLock {
 public:
  /// Makes the file. A lock whose process is gone is taken over at once if that was on this machine, else when its
  /// heartbeat stands still for `patience_seconds`. @throws Error(kBadInput) naming who holds it
  explicit RunLock(std::string path, double patience_seconds = 30);
  ~RunLock();  ///< removes it, if it is still ours
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  /// Shows that the holder lives. False if another job has taken the lock.
  bool beat() const;
  /// Who holds the lock at `path`; nothing if nobody does. A dead holder counts while its file is there.
  static std::optional<nlohmann::json> holder_of(const std::string& path);
  /// Seconds since the last heartbeat by the file's time.
  static double heartbeat_age_seconds(const std::string& path);

 private:
  std::string path_;
  nlohmann::json holder_;
};

}  // namespace rluf
