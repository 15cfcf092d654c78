#pragma once
/// The run's log: rank 0 speaks for all; every rank may warn. Lines go to the terminal (stderr) and, once a run
/// directory is known, to its log file. Results that a user pipes elsewhere go to stdout, never through here.
#include <cstdint>
#include <string>

namespace rluf {

/// Names this process in messages. Called once by the MPI environment. @collective no
void set_log_rank(int rank, int num_ranks);
/// Rank 0 also appends its lines to `path` from now on (empty: to no file). @throws Error if it cannot be opened
void set_log_file(const std::string& path);
/// Size of the log file now; 0 where there is none. @unit bytes
std::int64_t log_bytes();
/// What earlier starts wrote after their first `kept_bytes` goes from the log to PATH.superseded, because this start
/// does it again: the log reads as one run. @return bytes moved
std::int64_t supersede_log(std::int64_t kept_bytes);

/// Printed by rank 0 only.
void log_info(const std::string& text);
/// Printed by any rank, named when it is not rank 0.
void log_warning(const std::string& text);
/// Printed by any rank; `stage` and `step` are added when known.
void log_error(const std::string& text);

/// What the run is doing now: named in error messages and by the watchdog. Safe to call from any thread.
void set_progress_mark(const std::string& stage, long step);
struct ProgressMark {
  std::string stage, unit, text;
  long step = -1, total = 0;
  double rate = 0;         ///< @unit units per second; 0: unknown
  double age_seconds = 0;  ///< since the last mark
  std::string collective;  ///< that this rank's main thread is in, with axis and number; empty: none
};
ProgressMark progress_mark();

/// Names the collective that the main thread is in, for messages about hangs: the `number`-th of its axis, so that
/// ranks that wait for each other in different ones can be told apart. Texts must live on.
class InCollective {
 public:
  explicit InCollective(const char* name, const char* axis = "", std::int64_t number = 0);
  ~InCollective();
  InCollective(const InCollective&) = delete;
  InCollective& operator=(const InCollective&) = delete;

 private:
  const char* outer_;
  double start_seconds_;
};
/// Time of the main thread in collectives since the start: moving data, and waiting for others. @unit seconds
double seconds_in_collectives();

/// Progress of a long loop. On a terminal (mpirun's counts as this process's) one line that is rewritten; in a log file
/// a line every 30 s and the last one.
class Progress {
 public:
  /// `total` in `unit` ("rows", "steps"); counts of this rank, scaled by the caller if need be.
  Progress(std::string stage, std::string unit, long total, long first = 0);
  ~Progress();
  /// `done` so far; `text` is appended ("loss 0.412"). Marks progress for the watchdog on every rank.
  void update(long done, const std::string& text = "");

 private:
  std::string stage_, unit_;
  long total_, first_, done_;
  double start_seconds_, last_rewrite_seconds_ = 0, last_line_seconds_ = 0;
  bool open_line_ = false;
};

/// Seconds on a clock that never goes back.
double now_seconds();
/// Resident memory of this process now. @unit bytes
long resident_memory_bytes();
/// Its largest value since the start, or since reset_peak_memory() where the kernel allows that. @unit bytes
long peak_memory_bytes();
void reset_peak_memory();

}  // namespace rluf
