#include "rluf/io/jsonl.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/iostreams/filter/gzip.hpp>
#include <boost/iostreams/filtering_stream.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {
namespace {

constexpr std::size_t kLongestLineBytes = std::size_t{64} << 20;

bool is_gzip(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  unsigned char magic[2] = {0, 0};
  file.read(reinterpret_cast<char*>(magic), 2);
  return magic[0] == 0x1f && magic[1] == 0x8b;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

struct LineReader::Impl {
  std::string path;
  std::ifstream file;
  boost::iostreams::filtering_istream stream;
};

LineReader::LineReader(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    fail_input(path + " is a directory", "a file with a JSON object a line is needed", "name a file in it");
  impl_->file.open(path, std::ios::binary);
  if (!impl_->file)
    fail_input(concat("cannot open ", path),
               std::filesystem::exists(path, ignored) ? "it may not be read" : "there is no such file",
               "check the path");
  if (is_gzip(path)) impl_->stream.push(boost::iostreams::gzip_decompressor());
  impl_->stream.push(impl_->file);
  impl_->stream.exceptions(std::ios::badbit);
}

LineReader::~LineReader() = default;

bool LineReader::next(std::string& line) {
  line.clear();
  try {
    if (!std::getline(impl_->stream, line)) return false;
  } catch (const std::exception& error) {
    fail_data(concat(impl_->path, ": the gzip stream is broken after line ", line_number_, " (", error.what(), ")"),
              "the rows after it are lost", "copy or compress the file again");
  }
  ++line_number_;
  if (line.size() > kLongestLineBytes)
    fail_data(concat(impl_->path, ":", line_number_, ": a line of ", line.size() >> 20, " MiB"),
              "a row has at most 64 MiB", "write one JSON object a line");
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

std::string json_complaint(const Json::exception& error) {
  const std::string what = error.what();
  if (what.find("UTF-8") != std::string::npos) return "the text is not UTF-8";
  const auto column = what.find("column ");
  const std::string number = column == std::string::npos ? "" : what.substr(column, what.find(':', column) - column);
  return concat("broken JSON", number.empty() ? "" : " at ", number);
}

std::int64_t LineReader::size_bytes() const {
  std::error_code unknown;
  const auto size = std::filesystem::file_size(impl_->path, unknown);
  return unknown ? 0 : static_cast<std::int64_t>(size);
}

std::int64_t LineReader::bytes_read() const {
  const std::streamoff position = impl_->file.tellg();  // -1 at the end
  return position < 0 ? size_bytes() : static_cast<std::int64_t>(position);
}

void for_each_row(const std::string& path, int rank, int size,
                  const std::function<void(std::int64_t, const Json&)>& row) {
  LineReader reader(path);
  std::string line;
  while (reader.next(line)) {
    if ((reader.line_number() - 1) % size != rank) continue;
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    Json object;
    try {
      object = Json::parse(line);
    } catch (const Json::exception& error) {
      fail_data(concat(path, ":", reader.line_number(), ": ", json_complaint(error)), "the row cannot be read",
                "repair or remove the line, in UTF-8");
    }
    if (!object.is_object())
      fail_data(concat(path, ":", reader.line_number(), ": not a JSON object"), "a row is an object with named fields",
                "repair or remove the line");
    row(reader.line_number(), object);
  }
}

Json json_row(const std::string& line, const std::string& path, std::int64_t line_number) {
  const auto fail = [&](const std::string& problem, const char* why) {
    fail_data(concat(path, ":", line_number, ": ", problem), why, "correct the row or leave it out");
  };
  Json row;
  try {
    row = Json::parse(line);
  } catch (const Json::exception& error) {
    fail(json_complaint(error), "the row cannot be read");
  }
  if (!row.is_object()) fail("the line is no JSON object", "a row is an object with named fields");
  return row;
}

std::int64_t for_each_shared_row(const std::string& path, std::int64_t max_rows, const std::string& stage,
                                 const Communicator& comm, const std::function<void(std::int64_t, const Json&)>& row) {
  std::int64_t num_mine = 0;
  guarded(comm, [&] {
    LineReader reader(path);
    const auto total = static_cast<long>(reader.size_bytes() >> 10);
    Progress progress(stage, "KiB", total);
    std::string line;
    for (std::int64_t index = 0; (max_rows == 0 || index < max_rows) && reader.next(line);) {
      if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      if (index++ % comm.size() != comm.rank()) continue;
      row(reader.line_number(), json_row(line, path, reader.line_number()));
      if (++num_mine % 256 != 0) continue;
      stop_here_if_requested("reading " + path);
      progress.update(std::min(total - 1, static_cast<long>(reader.bytes_read() >> 10)), concat(index, " rows"));
    }
    progress.update(total);
  });
  const std::int64_t num_rows = comm.all_reduce(num_mine);
  if (num_rows == 0) fail_data(concat(path, " holds no rows"), "there is nothing to learn from", "give another file");
  return num_rows;
}

template <class T>
T field(const Json& row, const std::string& name, const std::string& path, std::int64_t line_number) {
  const auto found = row.find(name);
  if (found == row.end())
    fail_data(concat(path, ":", line_number, ": the field \"", name, "\" is missing"), "the row cannot be used",
              "add the field or remove the row");
  bool right_type = true;
  if constexpr (std::is_same_v<T, std::string>) right_type = found->is_string();
  if constexpr (std::is_same_v<T, std::int64_t>) right_type = found->is_number_integer() || found->is_boolean();
  if constexpr (std::is_same_v<T, double>) right_type = found->is_number();
  if (right_type) {
    if constexpr (std::is_same_v<T, std::int64_t>)
      if (found->is_boolean()) return found->template get<bool>() ? 1 : 0;
    return found->template get<T>();
  }
  fail_data(concat(path, ":", line_number, ": the field \"", name, "\" is ", found->type_name()),
            "it has the wrong type", "repair the field or remove the row");
}

template std::string field<std::string>(const Json&, const std::string&, const std::string&, std::int64_t);
template std::int64_t field<std::int64_t>(const Json&, const std::string&, const std::string&, std::int64_t);
template double field<double>(const Json&, const std::string&, const std::string&, std::int64_t);
template Json field<Json>(const Json&, const std::string&, const std::string&, std::int64_t);

struct JsonlWriter::Impl {
  std::string path;
  std::ofstream file;
  boost::iostreams::filtering_ostream stream;
  bool closed = false;
};

JsonlWriter::JsonlWriter(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  impl_->file.open(path + ".part", std::ios::binary);
  if (!impl_->file)
    fail_input(concat("cannot write ", path), "results would be lost", "check the directory's rights and space");
  if (ends_with(path, ".gz")) impl_->stream.push(boost::iostreams::gzip_compressor(boost::iostreams::gzip_params(1)));
  impl_->stream.push(impl_->file);
}

JsonlWriter::~JsonlWriter() {
  if (impl_->closed) return;
  try {  // an unfinished file must not stay
    impl_->stream.reset();
  } catch (...) {
  }
  std::error_code ignored;
  std::filesystem::remove(impl_->path + ".part", ignored);
}

void JsonlWriter::write(const Json& row) { impl_->stream << row.dump() << '\n'; }

void JsonlWriter::close() {
  impl_->stream.reset();  // writes gzip's trailer
  impl_->file.close();
  if (!impl_->file)
    fail_input(concat("cannot write ", impl_->path), "the disk may be full", "free space and run again");
  publish_file(impl_->path + ".part", impl_->path);
  impl_->closed = true;
}

void publish_file(const std::string& temporary, const std::string& path) {
  const auto sync = [&](const std::string& name, int flags) {
    const int descriptor = ::open(name.c_str(), flags);
    const bool good = descriptor >= 0 && ::fsync(descriptor) == 0;
    if (descriptor >= 0) ::close(descriptor);
    if (!good)
      fail_input(concat("cannot bring ", name, " to the disk"), std::strerror(errno),
                 "check the file system's space and state");
  };
  const std::string folder =
      std::filesystem::path(path).has_parent_path() ? std::filesystem::path(path).parent_path().string() : ".";
  sync(temporary, O_RDONLY);
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error)
    fail_input(concat("cannot rename ", temporary, " to ", path), error.message(), "check the directory's rights");
  sync(folder, O_RDONLY | O_DIRECTORY);
}

Json read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail_input(concat("cannot open ", path), "it is missing or may not be read", "check the path");
  try {
    return Json::parse(file);
  } catch (const Json::exception& error) {
    fail_input(concat(path, " is not JSON (", error.what(), ")"), "it cannot be read", "repair or replace the file");
  }
}

void write_text(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".part";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    fail_input(concat("cannot write ", path), "the disk may be full or the directory read-only",
               "check the directory's rights and space");
  publish_file(temporary, path);
}

void write_json(const std::string& path, const Json& document) { write_text(path, document.dump(1) + "\n"); }

namespace {
/// Names of the members that differ between two objects, "a.b = 1 (was 2)".
void list_differences(const Json& was, const Json& now, const std::string& prefix, std::vector<std::string>& out) {
  if (was.is_object() && now.is_object()) {
    const std::string before = prefix.empty() ? "" : prefix + ".";
    for (const auto& [key, value] : now.items())
      list_differences(was.contains(key) ? was[key] : Json(), value, concat(before, key), out);
    for (const auto& [key, value] : was.items())
      if (!now.contains(key)) out.push_back(concat(before, key, " (was ", value.dump(), ")"));
  } else if (was != now) {
    out.push_back(concat(prefix, " = ", now.dump(), " (was ", was.dump(), ")"));
  }
}
}  // namespace

std::string text_of_differences(const Json& was, const Json& now) {
  std::vector<std::string> differences;
  list_differences(was, now, "", differences);
  std::string text;
  for (const std::string& difference : differences) text += concat(text.empty() ? "" : ", ", difference);
  return text;
}

}  // namespace rluf
