#include "restart.hpp"

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// A part is what has checkpoints of its own: love, helpfulness, policy_w0.1.
bool has_part(const Stage& stage, const std::string& part) {
  return std::any_of(stage.parts.begin(), stage.parts.end(),
                     [&](const std::string& beginning) { return part.starts_with(beginning); });
}

class Restart {
 public:
  Restart(const std::vector<Stage>& planned, const std::vector<Stage>& all, const RunDirectory& directory)
      : planned_(planned), all_(all), directory_(directory), root_(directory.path() + "/checkpoints") {
    char time[32];
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::strftime(time, sizeof time, "/aside-%Y%m%d-%H%M%S", &local);
    aside_ = root_ + time;
  }

  /// Parts of the command's stages that have checkpoints.
  std::vector<std::string> parts() const {
    std::vector<std::string> list;
    for (const auto& entry : fs::directory_iterator(root_)) {
      const std::string part = entry.path().filename().string();
      for (const Stage& stage : planned_)
        if (has_part(stage, part) && !list_checkpoints(entry.path().string()).empty()) list.push_back(part);
    }
    return list;
  }

  void need_one() const {
    if (parts().empty()) fail_none("latest");
  }

  void begin_again() {
    for (const Stage& stage : planned_) redo(stage);
  }

  /// From step `step` of the part that worked last.
  void go_on_from(std::int64_t step) {
    std::string part;
    fs::file_time_type newest;
    for (const std::string& candidate : parts()) {
      const auto time = fs::last_write_time(list_checkpoints(directory_.checkpoints(candidate)).front());
      if (part.empty() || time > newest) {
        part = candidate;
        newest = time;
      }
    }
    if (part.empty()) fail_none(std::to_string(step));
    std::string steps;
    for (const std::string& path : list_checkpoints(directory_.checkpoints(part))) {
      if (step_of(path) == step) return roll_back(part, step);
      steps = concat(step_of(path), steps.empty() ? "" : ", ", steps);
    }
    fail_input(concat("run.restart = ", step, ": ", part, ", which worked last, has no checkpoint at that step"),
               "there is nothing to go on from", concat("it has ", steps, "; or name a file"));
  }

  void go_on_from(const std::string& path) {
    const Checkpoint checkpoint(path, Communicator::self());  // verified
    const std::string part = checkpoint.header().stage, folder = directory_.checkpoints(part);
    if (std::none_of(planned_.begin(), planned_.end(), [&](const Stage& stage) { return has_part(stage, part); }))
      fail_input(concat(path, " is of the stage ", part), "the command does not do it",
                 "name another, or use rluf run");
    roll_back(part, checkpoint.header().step);
    const fs::path place = fs::path(folder) / fs::path(path).filename();
    std::error_code error;
    if (fs::equivalent(place, path, error)) return;
    if (fs::exists(place)) set_aside(part, place);
    fs::create_directories(folder);
    fs::copy_file(path, place);
  }

 private:
  static std::int64_t step_of(const fs::path& path) { return std::atoll(path.stem().string().substr(5).c_str()); }

  [[noreturn]] void fail_none(const std::string& restart) const {
    fail_input(concat("run.restart = ", restart, ": ", directory_.path(), " holds no checkpoint of these stages"),
               "what should go on would begin again", "check run.directory, or set run.restart = auto");
  }

  void set_aside(const std::string& part, const fs::path& path) {
    fs::create_directories(aside_ + "/" + part);
    fs::rename(path, fs::path(aside_) / part / path.filename());
    if (num_moved_++ == 0) log_info("run.restart: what is not used goes to " + aside_);
  }

  void redo(const Stage& stage) {
    directory_.forget(stage.name);
    for (const auto& entry : fs::directory_iterator(root_)) {
      const std::string part = entry.path().filename().string();
      if (has_part(stage, part))
        for (const std::string& path : list_checkpoints(entry.path().string())) set_aside(part, path);
    }
  }

  void roll_back(const std::string& part, std::int64_t step) {
    for (const std::string& path : list_checkpoints(directory_.checkpoints(part)))
      if (step_of(path) > step) set_aside(part, path);
    bool later = false;
    for (const Stage& stage : all_) {
      if (later) redo(stage);
      if (!has_part(stage, part)) continue;
      directory_.forget(stage.name);
      later = true;
    }
  }

  const std::vector<Stage>&planned_, &all_;
  const RunDirectory& directory_;
  std::string root_, aside_;
  int num_moved_ = 0;
};

}  // namespace

void prepare_restart(const std::string& restart, const std::vector<Stage>& planned, const std::vector<Stage>& all,
                     const RunDirectory& directory, const Communicator& comm) {
  if (restart == "auto") return;
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    Restart state(planned, all, directory);
    if (restart == "none") {
      state.begin_again();
    } else if (restart == "latest") {
      state.need_one();
    } else if (restart.find_first_not_of("0123456789") == std::string::npos && !restart.empty()) {
      state.go_on_from(std::atoll(restart.c_str()));
    } else {
      state.go_on_from(restart);
    }
  });
}

}  // namespace rluf
