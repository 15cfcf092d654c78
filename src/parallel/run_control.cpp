#include "rluf/parallel/run_control.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {
namespace {

enum Origin : int { kNobody, kUsr2, kFile, kClock, kUsr1, kTerm };
constexpr const char* kOriginNames[] = {"nobody", "USR2", "the request file", "the end of the job's time",
                                        "USR1",   "TERM"};

/// Milliseconds of a clock that never goes back; allowed in a signal handler.
std::int64_t now_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

/// What this rank has seen. Lock-free, so that a handler may write it.
struct Seen {
  std::atomic<int> stop = kNobody, checkpoint = kNobody;
  std::atomic<std::int64_t> since_milliseconds = 0;

  void note(Request request, Origin origin) {
    std::atomic<int>& place = request == Request::kStop ? stop : checkpoint;
    if (place != kNobody) return;
    since_milliseconds = now_milliseconds();
    place = origin;
  }
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free);
Seen seen;

/// Rank 0's other sources, and what the last agreement said. Main thread only.
struct Control {
  std::string request_file, origin_text = "nobody";
  double last_look_seconds = 0, deadline_seconds = std::numeric_limits<double>::infinity(), margin_seconds = 0;
  double checkpoint_seconds = 0, step_seconds = 0, last_asked_seconds = 0;
};
Control control;

/// MPI, HDF5 and memory must not be touched here.
void handle(int signal) {
  if (signal == SIGUSR2) return seen.note(Request::kCheckpoint, kUsr2);
  if (signal == SIGTERM && seen.stop == kTerm) {
    if (now_milliseconds() - seen.since_milliseconds < 1000) return;
    std::signal(SIGTERM, SIG_DFL);
    static_cast<void>(raise(SIGTERM));
    return;
  }
  if (signal == SIGTERM) seen.stop = kNobody;  // so that a TERM after USR1 counts as the first one
  seen.note(Request::kStop, signal == SIGTERM ? kTerm : kUsr1);
}

void look_for_file(bool remove) {
  if (control.request_file.empty() || now_seconds() - control.last_look_seconds < 1.0) return;
  control.last_look_seconds = now_seconds();
  std::error_code error;
  if (!std::filesystem::exists(control.request_file, error)) return;
  std::string word;
  std::ifstream(control.request_file) >> word;
  if (remove) std::filesystem::remove(control.request_file, error);
  if (word == "stop") return seen.note(Request::kStop, kFile);
  if (word == "checkpoint") return seen.note(Request::kCheckpoint, kFile);
  log_warning(concat(control.request_file, " asks for \"", word, "\": only checkpoint and stop are known"));
}

void look_at_clock() {
  const double now = now_seconds();
  if (control.last_asked_seconds > 0) {
    // The longest step so far, which loses 2 % of itself for each such time that passes, in however many questions.
    const double passed = now - control.last_asked_seconds, longest = std::max(control.step_seconds, 1e-3);
    control.step_seconds = std::max(passed, longest * std::pow(0.98, passed / longest));
  }
  control.last_asked_seconds = now;
  if (now + control.step_seconds + control.checkpoint_seconds + control.margin_seconds > control.deadline_seconds)
    seen.note(Request::kStop, kClock);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGUSR1, SIGUSR2}) sigaction(signal, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);
}

void watch_request_file(const std::string& path) { control.request_file = path; }

void set_time_limit(double seconds_left, double margin_seconds) {
  control.deadline_seconds = now_seconds() + seconds_left;
  control.margin_seconds = margin_seconds;
}

double scheduler_seconds_left() {
  const char* end = std::getenv("SLURM_JOB_END_TIME");
  return end == nullptr ? 0.0 : std::max(1.0, std::atof(end) - static_cast<double>(std::time(nullptr)));
}

void note_checkpoint_seconds(double seconds) {
  control.checkpoint_seconds = std::max(control.checkpoint_seconds, seconds);
}

Request requested(const Communicator& comm) {
  if (comm.rank() == 0) look_for_file(true);
  look_at_clock();
  const int stop = seen.stop, checkpoint = seen.checkpoint;
  const std::int64_t age = stop + checkpoint > 0 ? now_milliseconds() - seen.since_milliseconds : 0;
  std::vector<std::int64_t> all{stop, checkpoint, age};
  comm.all_reduce(all, Reduce::kMax);
  if (all[0] == kNobody && all[1] == kNobody) return Request::kNone;
  char text[96];
  std::snprintf(text, sizeof text, "%s, %.2f s ago", kOriginNames[all[0] != kNobody ? all[0] : all[1]],
                static_cast<double>(all[2]) / 1000);
  control.origin_text = text;
  if (all[0] != kNobody) return Request::kStop;
  seen.checkpoint = kNobody;
  return Request::kCheckpoint;
}

std::string request_origin() { return control.origin_text; }

bool stop_wanted_here() {
  look_for_file(false);
  look_at_clock();
  return seen.stop != kNobody;
}

void stop_here_if_requested(const std::string& doing) {
  if (!stop_wanted_here()) return;
  throw Error(ExitCode::kStopped, concat("stopped by ", kOriginNames[seen.stop], ", while ", doing,
                                         " (finished parts are kept): run the same command again to continue"));
}

void stop_if_requested(const Communicator& comm, const std::string& doing) {
  const Request request = requested(comm);
  if (request == Request::kCheckpoint)
    log_info(concat("checkpoint asked for by ", request_origin(), " while ", doing,
                    ": there is nothing to write, finished parts are on the disk"));
  if (request == Request::kStop)
    throw Error(ExitCode::kStopped, concat("stopped by ", request_origin(), ", while ", doing,
                                           " (finished parts are kept): run the same command again to continue"));
}

}  // namespace rluf
