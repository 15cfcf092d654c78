#include "rluf/core/log.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

struct LogState {
  std::mutex mutex;
  int rank = 0, num_ranks = 1;
  std::ofstream file;
  std::string path;
  std::int64_t first_byte = 0;  ///< of this start
  std::atomic<const char*> collective = nullptr, axis = "";
  std::atomic<std::int64_t> collective_number = 0;
  double collective_seconds = 0;  ///< of the main thread
  ProgressMark mark;
  double mark_seconds = now_seconds();
  bool terminal_line_open = false;
};

LogState& state() {
  static LogState log_state;
  return log_state;
}

std::string time_of_day() {
  char text[32];
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

/// For the file alone, where the terminal shows the same as a rewritten line.
void print_to_file(const std::string& line) {
  if (state().file.is_open()) state().file << time_of_day() << ' ' << line << '\n' << std::flush;
}

/// Prints a whole line at once, so that lines of several ranks do not mix.
void print_line(const std::string& line) {
  LogState& log = state();
  if (log.terminal_line_open) {
    std::cerr << '\n';
    log.terminal_line_open = false;
  }
  std::cerr << line + '\n' << std::flush;
  print_to_file(line);
}

std::string who() {
  const LogState& log = state();
  return log.num_ranks > 1 ? concat("rank ", log.rank, ": ") : "";
}

/// Whether a person watches: stderr is a terminal, or goes to a launcher on this node whose own stderr is one.
bool is_watched() {
  if (isatty(STDERR_FILENO) == 1) return true;
  std::error_code no_link;
  const auto target = std::filesystem::read_symlink(concat("/proc/", getppid(), "/fd/2"), no_link).string();
  const bool launched = std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMI_SIZE") != nullptr;
  return launched && (target.rfind("/dev/pts/", 0) == 0 || target.rfind("/dev/tty", 0) == 0);
}

std::string current_collective() {
  const char* const name = state().collective;
  if (name == nullptr) return "";
  const std::int64_t number = state().collective_number;
  return number == 0 ? std::string(name) : concat(name, " (number ", number, " of axis ", state().axis.load(), ")");
}

/// A member of /proc/self/status in bytes, "VmHWM:   1234 kB"; 0 where there is none.
long status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kilobytes = 0;
    if (word == name && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

/// 0 if there is no such file.
std::int64_t file_bytes(const std::string& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  return missing ? 0 : static_cast<std::int64_t>(size);
}

}  // namespace

void set_log_rank(int rank, int num_ranks) {
  state().rank = rank;
  state().num_ranks = num_ranks;
}

void set_log_file(const std::string& path) {
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  log.file.close();
  if (path.empty() || log.rank != 0) return;
  log.file.open(path, std::ios::app);
  if (!log.file)
    fail_input(concat("cannot write the log ", path), "the run would leave no trace",
               "check the directory's rights and space");
  log.path = path;
  log.first_byte = file_bytes(path);
}

std::int64_t log_bytes() {
  std::lock_guard lock(state().mutex);
  return state().file.is_open() ? file_bytes(state().path) : 0;
}

std::int64_t supersede_log(std::int64_t kept_bytes) {
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  if (!log.file.is_open() || kept_bytes >= log.first_byte) return 0;
  std::ostringstream content;
  content << std::ifstream(log.path, std::ios::binary).rdbuf();
  const std::string all = content.str();
  const auto kept = static_cast<std::size_t>(kept_bytes), first = static_cast<std::size_t>(log.first_byte);
  if (all.size() < first) return 0;
  std::ofstream(log.path + ".superseded", std::ios::app | std::ios::binary) << all.substr(kept, first - kept) << "\n";
  const std::string temporary = log.path + ".part";
  std::ofstream(temporary, std::ios::binary) << all.substr(0, kept) << all.substr(first);
  log.file.close();
  std::filesystem::rename(temporary, log.path);
  log.file.open(log.path, std::ios::app);
  log.first_byte = kept_bytes;
  return static_cast<std::int64_t>(first - kept);
}

void log_info(const std::string& text) {
  std::lock_guard lock(state().mutex);
  if (state().rank == 0) print_line(text);
}

void log_warning(const std::string& text) {
  std::lock_guard lock(state().mutex);
  print_line(concat("warning: ", state().rank == 0 ? "" : who(), text));
}

void log_error(const std::string& text) {
  std::lock_guard lock(state().mutex);
  const ProgressMark& mark = state().mark;
  std::string place = who();
  if (!mark.stage.empty())
    place += concat("stage ", mark.stage, mark.step >= 0 ? concat(" step ", mark.step) : "", ": ");
  if (const std::string name = current_collective(); !name.empty()) place += concat("in the collective ", name, ": ");
  print_line(concat("error: ", place, text));
}

void set_progress_mark(const std::string& stage, long step) {
  std::lock_guard lock(state().mutex);
  state().mark = {};
  state().mark.stage = stage;
  state().mark.step = step;
  state().mark_seconds = now_seconds();
}

InCollective::InCollective(const char* name, const char* axis, std::int64_t number)
    : outer_(state().collective.exchange(name)), start_seconds_(now_seconds()) {
  state().axis = axis;
  state().collective_number = number;
}
InCollective::~InCollective() {
  state().collective = outer_;
  if (outer_ == nullptr) state().collective_seconds += now_seconds() - start_seconds_;
}

double seconds_in_collectives() { return state().collective_seconds; }

ProgressMark progress_mark() {
  std::lock_guard lock(state().mutex);
  ProgressMark mark = state().mark;
  mark.age_seconds = now_seconds() - state().mark_seconds;
  mark.collective = current_collective();
  return mark;
}

Progress::Progress(std::string stage, std::string unit, long total, long first)
    : stage_(std::move(stage)),
      unit_(std::move(unit)),
      total_(total),
      first_(first),
      done_(first),
      start_seconds_(now_seconds()) {
  last_rewrite_seconds_ = last_line_seconds_ = start_seconds_;
  set_progress_mark(stage_, first);
}

Progress::~Progress() {
  std::lock_guard lock(state().mutex);
  if (open_line_ && state().terminal_line_open) {
    std::cerr << '\n';
    state().terminal_line_open = false;
  }
}

void Progress::update(long done, const std::string& text) {
  done_ = done;
  set_progress_mark(stage_, done);
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  const double now = now_seconds(), elapsed = now - start_seconds_;
  const double rate = elapsed > 0 ? static_cast<double>(done - first_) / elapsed : 0;
  log.mark.unit = unit_;
  log.mark.text = text;
  log.mark.total = total_;
  log.mark.rate = rate;
  if (log.rank != 0) return;
  static const bool on_terminal = is_watched();
  const bool last = done >= total_;
  if (last && !open_line_ && elapsed < 5.0) return;  // too short to be worth a line
  const bool rewrite = on_terminal && now - last_rewrite_seconds_ >= 0.2,
             line = last || now - last_line_seconds_ >= 30.0;
  if (!rewrite && !line) return;
  char figures[96];
  std::snprintf(figures, sizeof figures, "%ld/%ld %s, %.3g %s/s, %.0f s left", done, total_, unit_.c_str(), rate,
                unit_.c_str(), rate > 0 ? static_cast<double>(total_ - done) / rate : 0.0);
  const std::string shown = concat(stage_, ": ", figures, text.empty() ? "" : ", ", text);
  if (line) last_line_seconds_ = now;
  if (on_terminal && !last) {
    std::cerr << "\r\033[K" << shown << std::flush;
    log.terminal_line_open = open_line_ = true;
    last_rewrite_seconds_ = now;
    if (line) print_to_file(shown);
  } else {
    if (log.terminal_line_open) std::cerr << "\r\033[K";
    log.terminal_line_open = false;
    print_line(shown);
  }
}

double now_seconds() {
  using clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(clock::now().time_since_epoch()).count();
}

long resident_memory_bytes() { return status_bytes("VmRSS:"); }

long peak_memory_bytes() {
  if (const long peak = status_bytes("VmHWM:"); peak > 0) return peak;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024L;
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace rluf
