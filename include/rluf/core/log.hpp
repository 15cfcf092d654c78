#pragma once
/// The run's log: rank 0 speaks for all; every rank may warn. Lines go to the terminal (stderr) and, once a run
/// directory is known, to its log file. Results that a user pipes elsewhere go to stdout, never through here.
#include <string>

namespace rluf {

/// Names this process in messages. Called once by the MPI environment. @collective no
void set_log_rank(int rank, int num_ranks);
/// Rank 0 also appends its lines to `path` from now on (empty: to no file). @throws Error if it cannot be opened
void set_log_file(const std::string& path);

/// Printed by rank 0 only.
void log_info(const std::string& text);
/// Printed by any rank, named when it is not rank 0.
void log_warning(const std::string& text);
/// Printed by any rank; `stage` and `step` are added when known.
void log_error(const std::string& text);

/// What the run is doing now: named in error messages and by the watchdog. Safe to call from any thread.
void set_progress_mark(const std::string& stage, long step);
struct ProgressMark {
  std::string stage;
  long step = -1;
  double age_seconds = 0;  ///< since the last mark
};
ProgressMark progress_mark();

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
