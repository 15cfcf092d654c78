#pragma once
/// JSON Lines files, plain or gzip.
#include <cstdint>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

using Json = nlohmann::json;

/// Reads one line at a time with bounded memory. Gzip is recognised by its first two bytes.
class LineReader {
 public:
  /// @throws Error(kBadInput) if the file is missing or unreadable
  explicit LineReader(const std::string& path);
  ~LineReader();
  /// False at the end. @throws Error(kBadData) for a broken or truncated gzip stream, naming the line reached
  bool next(std::string& line);
  std::int64_t line_number() const { return line_number_; }  ///< of the last line, from 1
  std::int64_t bytes_read() const;                           ///< of the file as it is stored, for progress
  std::int64_t size_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::int64_t line_number_ = 0;
};

/// What is wrong with a line that is no JSON, without quoting it: errors are logged, and rows are private.
std::string json_complaint(const nlohmann::json::exception& error);

/// A line as a row. @throws Error(kBadData) naming FILE:LINE if it is no JSON object
Json json_row(const std::string& line, const std::string& path, std::int64_t line_number);

/// Reads line `i` on rank i mod size only (others skip it unparsed): all ranks parse their share of one file.
/// Blank lines are skipped. `row(line_number, object)`. @throws Error(kBadData) "FILE:LINE: broken JSON ..."
void for_each_row(const std::string& path, int rank, int size,
                  const std::function<void(std::int64_t, const Json&)>& row);
/// The same as a stage does it: row i of those that are not blank on rank i mod size, `max_rows` (0: all) of all ranks,
/// with progress, and stopping between rows when asked to. @return rows of all ranks @collective
/// @throws Error(kBadData) "FILE:LINE: ...", or without rows; Error(kStopped)
std::int64_t for_each_shared_row(const std::string& path, std::int64_t max_rows, const std::string& stage,
                                 const Communicator& comm, const std::function<void(std::int64_t, const Json&)>& row);
/// Field of a row. @throws Error(kBadData) naming file, line and field if missing or of the wrong type
/// T: std::string, std::int64_t (booleans count as 0 and 1), double, Json.
template <class T>
T field(const Json& row, const std::string& name, const std::string& path, std::int64_t line_number);

/// Writes gzip JSON lines under a temporary name; the final name appears when close() succeeds.
class JsonlWriter {
 public:
  explicit JsonlWriter(const std::string& path);
  ~JsonlWriter();
  void write(const Json& row);
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Reads or writes a whole JSON document. write_json is atomic (temporary name, fsync, rename).
Json read_json(const std::string& path);
void write_json(const std::string& path, const Json& document);
/// Brings a finished temporary file to the disk under its final name: fsync, rename, fsync of the folder.
void publish_file(const std::string& temporary, const std::string& path);
/// Atomic write of a text file.
void write_text(const std::string& path, const std::string& text);

/// Members in which two JSON objects differ, "a.b = 1 (was 2), ..."; empty if they are equal.
std::string text_of_differences(const nlohmann::json& was, const nlohmann::json& now);

}  // namespace rluf
