#include "rluf/io/run_directory.hpp"

#include <ctime>
#include <filesystem>
#include <fstream>

#include "rluf/core/error.hpp"
#include "rluf/io/csv.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

std::string stage_mark(const std::string& path, const std::string& stage) {
  return path + "/stages/" + stage + ".json";
}

}  // namespace

RunDirectory::RunDirectory(const std::string& path, const Communicator& comm, const Retention& retention,
                           const std::vector<std::string>& metrics_also)
    : path_(path), comm_(comm), retention_(retention), metrics_(path, metrics_also) {
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    try {
      for (const char* folder : {"data", "models", "checkpoints", "tables", "stages"})
        fs::create_directories(path + "/" + folder);
      const std::string probe = path + "/.writable";
      std::ofstream file(probe);
      file << "x";
      file.close();
      if (!file) throw fs::filesystem_error("cannot write", probe, std::make_error_code(std::errc::permission_denied));
      fs::remove(probe);
    } catch (const fs::filesystem_error& error) {
      fail_input(concat("cannot write to run.directory = ", path), error.code().message(),
                 "choose a directory that you may write to");
    }
  });
}

void RunDirectory::write_table(const std::string& name, const Json& content) const {
  if (comm_.rank() != 0) return;
  write_text(path_ + "/tables/" + name + ".csv", csv_of(content));
  write_json(table(name), content);
}

bool RunDirectory::has_table(const std::string& name) const { return fs::exists(table(name)); }
Json RunDirectory::read_table(const std::string& name) const { return read_json(table(name)); }

void RunDirectory::append_metrics(const std::string& stage, std::int64_t step,
                                  const std::map<std::string, double>& metrics) const {
  if (comm_.rank() == 0) metrics_.append({static_cast<double>(std::time(nullptr)), stage, step, metrics});
}

void RunDirectory::cut_metrics(const std::string& stage, std::int64_t step) const {
  if (comm_.rank() == 0) metrics_.cut(stage, step);
}

Json RunDirectory::portable(const Json& identity) const {
  if (identity.is_string()) {
    const auto text = identity.get<std::string>();
    return text.starts_with(path_ + "/") ? "RUN" + text.substr(path_.size()) : text;
  }
  Json result = identity;
  if (identity.is_structured())
    for (auto& value : result) value = portable(value);
  return result;
}

void RunDirectory::mark_done(const std::string& stage, const Json& identity) const {
  guarded(comm_, [&] {
    if (comm_.rank() == 0)
      write_json(stage_mark(path_, stage), {{"identity", portable(identity)}, {"ranks", comm_.size()}});
  });
}

void RunDirectory::forget_other(const std::string& stage, const Json& identity) const {
  const std::string mark = stage_mark(path_, stage);
  if (comm_.rank() == 0 && fs::exists(mark) && read_json(mark).value("identity", Json()) != portable(identity))
    fs::remove(mark);
}

void RunDirectory::forget(const std::string& stage) const { fs::remove(stage_mark(path_, stage)); }

bool RunDirectory::is_done(const std::string& stage, const Json& identity) const {
  std::int64_t done = 0;
  guarded(comm_, [&] {
    const std::string mark = stage_mark(path_, stage);
    if (comm_.rank() != 0 || !fs::exists(mark)) return;
    const std::string changes = text_of_differences(read_json(mark).value("identity", Json()), portable(identity));
    if (!changes.empty())
      fail_input(concat("stage ", stage, " was done with other options: ", changes),
                 "its results would not belong to this run",
                 concat("use another run.directory, restore the options, or remove ", mark, " to do the stage again"));
    done = 1;
  });
  return comm_.all_reduce(done, Reduce::kMax) == 1;
}

}  // namespace rluf
