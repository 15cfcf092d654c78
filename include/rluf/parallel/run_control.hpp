#pragma once
/// What the world asks of a running job: by a signal, by a file in the run directory, or by the end of its time.
#include <string>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

enum class Request : std::int64_t { kNone = 0, kCheckpoint = 1, kStop = 2 };

/// USR2: write a checkpoint and go on. USR1, TERM: write one and stop. A second TERM, a second or more later, ends the
/// process at once (launchers and batch systems may deliver one twice). Handlers only set flags. A write beyond the
/// limit of file sizes (XFSZ) becomes an error of that write. Not collective.
void install_signal_handlers();

/// Rank 0 looks for the file about once a second from now on: one word, "checkpoint" or "stop", as `rluf request`
/// writes it. The file is removed when it has been read. Not collective.
void watch_request_file(const std::string& path);

/// The job ends in so many seconds: it is stopped early enough for the longest checkpoint and the longest step so far,
/// with `margin_seconds` to spare. Not collective.
void set_time_limit(double seconds_left, double margin_seconds);
/// Seconds left in the batch job by SLURM_JOB_END_TIME; 0 where nothing says so.
double scheduler_seconds_left();
/// What the clock must leave room for.
void note_checkpoint_seconds(double seconds);

/// The strongest request that any rank has seen, the same on all. To be asked at the end of every step of every long
/// loop. kCheckpoint is given once, kStop stays. @collective
Request requested(const Communicator& comm);
/// "USR1, 0.2 s ago": where the last request came from, for messages. Not collective.
std::string request_origin();
/// The same for a loop that has nothing to write. @collective @throws Error(kStopped)
void stop_if_requested(const Communicator& comm, const std::string& doing);
/// For a loop of this rank alone: looks only here, at all sources. Not collective.
bool stop_wanted_here();
/// The same inside guarded(). @throws Error(kStopped)
void stop_here_if_requested(const std::string& doing);

}  // namespace rluf
