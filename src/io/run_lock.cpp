#include "rluf/io/run_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

/// Same text: same kernel and same numbering of processes.
std::string machine() {
  std::error_code error;
  return first_line("/proc/sys/kernel/random/boot_id") + " " + fs::read_symlink("/proc/self/ns/pid", error).string();
}

/// When a process started, in the kernel's ticks; empty if there is none, or only what a parent has yet to fetch. A pid
/// that was given away again has another.
std::string process_start(std::int64_t pid) {
  const std::string line = first_line(concat("/proc/", pid, "/stat"));
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return "";
  std::istringstream fields(line.substr(name_end + 1));
  std::string state, field;
  fields >> state;
  for (int i = 4; i <= 22 && fields >> field; ++i) {
  }
  return state == "Z" || state == "X" ? "" : field;
}

std::int64_t modification_nanoseconds(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return -1;
  return std::int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
}

/// False if the file exists already.
bool create(const std::string& path, const Json& holder) {
  const int descriptor = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
  if (descriptor < 0 && errno == EEXIST) return false;
  const std::string text = holder.dump() + "\n";
  const bool written =
      descriptor >= 0 && ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (written) return true;
  if (descriptor >= 0) ::unlink(path.c_str());
  fail_input(concat("cannot write the lock ", path), std::strerror(reason), "check the directory's rights and space");
}

std::string name_of(const Json& holder) {
  const std::string job = holder.value("job", std::string());
  return concat(job.empty() ? "" : concat("job ", job, ", "), "process ", holder.value("pid", std::int64_t{0}), " on ",
                holder.value("host", std::string("an unknown host")), ", since ",
                holder.value("started", std::string("an unknown time")));
}

/// Whether the process that made the lock is gone for certain, or shows no sign of life for the patience.
bool is_dead(const std::string& path, const Json& holder, double patience_seconds) {
  if (holder.value("machine", std::string()) == machine())
    return process_start(holder.value("pid", std::int64_t{0})) != holder.value("process_start", std::string("?"));
  log_info(concat("the run directory is locked by ", name_of(holder), ": waiting ", patience_seconds,
                  " s for a sign of life"));
  const std::int64_t before = modification_nanoseconds(path);
  for (const double start = now_seconds(); now_seconds() - start < patience_seconds;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    if (modification_nanoseconds(path) != before) return false;  // beats, or was given back
  }
  return true;
}

}  // namespace

Json lock_holder() {
  char host[256] = "", time[32] = "";
  gethostname(host, sizeof host - 1);
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::strftime(time, sizeof time, "%Y-%m-%d %H:%M:%S", &local);
  std::string job;
  for (const char* name : {"SLURM_JOB_ID", "PBS_JOBID"})
    if (const char* value = std::getenv(name)) job = value;
  return {{"host", host},    {"pid", getpid()},      {"job", job},
          {"started", time}, {"machine", machine()}, {"process_start", process_start(getpid())}};
}

RunLock::RunLock(std::string path, double patience_seconds) : path_(std::move(path)), holder_(lock_holder()) {
  while (!create(path_, holder_)) {
    const std::optional<Json> other = holder_of(path_);
    if (!other) continue;  // given back just now
    if (!is_dead(path_, *other, patience_seconds)) {
      if (holder_of(path_) != other) continue;
      fail_input(
          concat("another job works on this run directory: ", name_of(*other)),
          "two would overwrite each other's checkpoints",
          concat("wait for it or stop it, or use another run.directory; if it is certainly dead, remove ", path_));
    }
    // Moved away under a name of our own, so that of two jobs that take over only one does.
    const std::string aside = concat(path_, ".stale.", holder_.at("pid").get<std::int64_t>());
    std::error_code error;
    fs::rename(path_, aside, error);
    if (error) continue;
    if (holder_of(aside) != other) {  // a third one was faster, and it is his
      fs::rename(aside, path_, error);
      continue;
    }
    fs::remove(aside, error);
    log_info(concat("taking over the run directory from a job that is gone: ", name_of(*other)));
  }
}

RunLock::~RunLock() {
  std::error_code ignored;
  if (holder_of(path_) == holder_) fs::remove(path_, ignored);
}

bool RunLock::beat() const {
  if (holder_of(path_) != holder_) return false;
  ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);
  return true;
}

std::optional<Json> RunLock::holder_of(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  Json holder = Json::parse(file, nullptr, false);
  return holder.is_object() ? holder : Json::object();
}

double RunLock::heartbeat_age_seconds(const std::string& path) {
  return static_cast<double>(std::time(nullptr)) - static_cast<double>(modification_nanoseconds(path)) * 1e-9;
}

}  // namespace rluf
