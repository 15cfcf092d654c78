#include "rluf/pipeline/pipeline/run_status.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/parallel/environment.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

constexpr auto kBeat = std::chrono::seconds(2);
/// A job whose heartbeat is older is called lost. It beats every two seconds; file systems may show it late.
constexpr double kLostSeconds = 60;

std::string lock_path(const std::string& run) { return run + "/lock"; }
std::string status_path(const std::string& run) { return run + "/status.json"; }
std::string starts_path(const std::string& run) { return run + "/starts.jsonl"; }

void check_run(const std::vector<std::string>& operands, std::size_t count, const char* usage) {
  if (operands.size() != count)
    fail_input(concat("wrong number of arguments: rluf ", usage), "the command does not know what to work on",
               "see --help");
  if (!fs::exists(starts_path(operands[0])))
    fail_input(concat(operands[0], " is no run directory"), "no job has started in it", "name what run.directory was");
}

std::string duration(double seconds) {
  char text[64];
  if (seconds < 90) {
    std::snprintf(text, sizeof text, "%.0f s", seconds);
  } else if (seconds < 5400) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60);
  } else {
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600);
  }
  return text;
}

std::string clock_time(double seconds_since_epoch) {
  char text[32];
  const auto time = static_cast<std::time_t>(seconds_since_epoch);
  std::tm local{};
  localtime_r(&time, &local);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

double seconds_now() { return static_cast<double>(std::time(nullptr)); }

double file_age_seconds(const fs::path& path) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  return error ? 0 : std::chrono::duration<double>(fs::file_time_type::clock::now() - time).count();
}

/// The newest complete checkpoint of all stages; empty if there is none.
fs::path newest_checkpoint(const std::string& run) {
  fs::path newest;
  std::error_code error;
  for (const auto& stage : fs::directory_iterator(run + "/checkpoints", error))
    for (const std::string& path : list_checkpoints(stage.path().string()))
      if (newest.empty() || file_age_seconds(path) < file_age_seconds(newest)) newest = path;
  return newest;
}

struct Lines {
  std::size_t count = 0;
  std::string last;
};

/// Lines of a text file that hold `part`.
Lines lines_with(const std::string& path, const std::string& part) {
  Lines lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.find(part) != std::string::npos) {
      ++lines.count;
      lines.last = line;
    }
  return lines;
}

}  // namespace

RunStatus::RunStatus(const RunDirectory& directory, const nlohmann::json& start, const Communicator& comm)
    : path_(directory.path()), start_(start) {
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    lock_ = std::make_unique<RunLock>(lock_path(path_));
    start_.update(lock_holder());
    start_["start_seconds"] = seconds_now();
    std::ofstream starts(starts_path(path_), std::ios::app);
    starts << start_.dump() << '\n' << std::flush;
    if (!starts)
      fail_input(concat("cannot write ", starts_path(path_)), "the disk may be full", "free space and run again");
    std::error_code error;
    if (fs::remove(path_ + "/request", error)) log_info("a request that an earlier job had not seen was removed");
    write("running", "");
  });
  if (lock_) thread_ = std::thread([this] { beat(); });
}

RunStatus::~RunStatus() {
  end("failed", "see log.txt and the job's output");
  if (!lock_) return;
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void RunStatus::end(const std::string& state, const std::string& message) {
  std::lock_guard lock(mutex_);
  if (ended_ || !lock_) return;
  ended_ = true;
  write(state, message);
}

void RunStatus::beat() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kBeat, [&] { return quit_; })) {
    if (!lock_->beat()) {
      log_error(concat("another job has taken over ", path_,
                       " (this one was silent for too long): it ends here, so that they do not mix"));
      Environment::abort(1);
    }
    if (!ended_) write("running", "");
  }
}

void RunStatus::write(const std::string& state, const std::string& message) const {
  const ProgressMark mark = progress_mark();
  Json status = start_;
  status["state"] = state;
  status["message"] = message;
  status["time_seconds"] = seconds_now();
  status["stage"] = mark.stage;
  status["step"] = mark.step;
  status["total"] = mark.total;
  status["unit"] = mark.unit;
  status["rate"] = mark.rate;
  status["text"] = mark.text;
  // Not synced: a status is worth less than the disk's time.
  const std::string path = status_path(path_), temporary = path + ".part";
  std::error_code error;
  {
    std::ofstream file(temporary);
    file << status.dump(1) << '\n';
    if (!file.flush()) return;  // a full disk is reported by who needs it
  }
  fs::rename(temporary, path, error);
}

void tool_status(const std::vector<std::string>& operands) {
  check_run(operands, 1, "status RUN");
  const std::string& run = operands[0];
  const Json status = read_json(status_path(run));
  std::string state = status.at("state");
  if (state == "running" && !RunLock::holder_of(lock_path(run))) state = "lost";
  if (state == "running" && RunLock::heartbeat_age_seconds(lock_path(run)) > kLostSeconds) state = "lost";
  const auto started = status.at("start_seconds").get<double>(), written = status.at("time_seconds").get<double>();
  std::cout << "run          " << run << "\nstate        " << state;
  if (state == "lost") std::cout << ": no sign of life for " << duration(seconds_now() - written);
  if (const std::string message = status.at("message"); !message.empty()) std::cout << ": " << message;
  const std::string job = status.at("job");
  std::cout << "\njob          " << (job.empty() ? "none" : job) << ", " << status.at("command").get<std::string>()
            << " on " << status.at("ranks") << " ranks, host " << status.at("host").get<std::string>() << ", process "
            << status.at("pid") << "\nstarted      " << clock_time(started) << ", " << duration(written - started)
            << " ago at the last sign of life\nstarts       " << lines_with(starts_path(run), "{").count << '\n';
  const std::string stage = status.at("stage"), unit = status.at("unit"), text = status.at("text");
  if (!stage.empty()) {
    std::cout << "stage        " << stage;
    const long step = status.at("step"), total = status.at("total");
    if (total > 0) std::cout << ", " << step << " of " << total << ' ' << unit;
    const double rate = status.at("rate");
    if (rate > 0 && total > 0) {
      const double left = static_cast<double>(total - step) / rate;
      char figure[32];
      std::snprintf(figure, sizeof figure, "%.3g", rate);
      std::cout << ", " << figure << ' ' << unit << "/s";
      if (state == "running")
        std::cout << ", this part ends in " << duration(left) << " (" << clock_time(written + left) << ")";
    }
    std::cout << (text.empty() ? "" : ", ") << text << '\n';
  }
  if (const double end = status.value("end_seconds", 0.0); end > 0 && state == "running")
    std::cout << "job's time   ends " << clock_time(end) << ", in " << duration(end - seconds_now()) << '\n';
  const fs::path checkpoint = newest_checkpoint(run);
  std::cout << "checkpoint   "
            << (checkpoint.empty() ? "none yet"
                                   : concat(checkpoint.string(), ", ", duration(file_age_seconds(checkpoint)), " old"))
            << '\n';
  const Lines alarms = lines_with(run + "/log.txt", "warning: alarm: ");
  std::cout << "alarms       " << alarms.count;
  if (alarms.count > 0) std::cout << ", the last: " << alarms.last;
  std::cout << '\n';
  const Lines warnings = lines_with(run + "/log.txt", "warning: ");
  std::cout << "warnings     " << warnings.count;
  if (warnings.count > 0) std::cout << ", the last: " << warnings.last;
  std::cout << '\n' << std::flush;
}

void tool_request(const std::vector<std::string>& operands) {
  check_run(operands, 2, "request RUN checkpoint|stop");
  if (operands[1] != "checkpoint" && operands[1] != "stop")
    fail_input(concat("unknown request ", operands[1]), "the job would not understand it", "say checkpoint or stop");
  if (!RunLock::holder_of(lock_path(operands[0])))
    fail_input(concat("no job works on ", operands[0]), "nobody would read the request", "see rluf status");
  write_text(operands[0] + "/request", operands[1] + "\n");
  std::cout << "the job writes a checkpoint" << (operands[1] == "stop" ? " and stops" : "")
            << " at the end of its step; see rluf status " << operands[0] << '\n'
            << std::flush;
}

}  // namespace rluf
