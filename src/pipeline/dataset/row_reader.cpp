#include "row_reader.hpp"

#include <algorithm>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/run_control.hpp"

namespace rluf {

void Place::fail(const std::string& problem, const std::string& why) const {
  fail_data(concat(path, ":", line, ": ", problem), why, "correct the row or leave it out");
}

const Json& member(const Json& row, const char* name, const Place& place) {
  const auto found = row.find(name);
  if (found == row.end()) place.fail(concat("the field \"", name, "\" is missing"), "every row needs it");
  return *found;
}

std::string text_member(const Json& row, const char* name, const Place& place) {
  const Json& value = member(row, name, place);
  if (!value.is_string()) place.fail(concat("the field \"", name, "\" is no text"), "its type is fixed");
  return value.get<std::string>();
}

double number_member(const Json& row, const char* name, const Place& place) {
  const Json& value = member(row, name, place);
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (!value.is_number()) place.fail(concat("the field \"", name, "\" is no number"), "its type is fixed");
  return value.get<double>();
}

std::vector<Message> context_of(const Json& row, const Place& place) {
  const char* name = row.contains("messages") ? "messages" : "prompt";
  return read_messages(member(row, name, place), place.path, place.line);
}

void count_truncation(Row& row, const RenderedDocument& rendered) {
  row.truncated_tokens += static_cast<std::int32_t>(rendered.truncated_tokens);
  row.dropped_messages += static_cast<std::int32_t>(rendered.dropped_messages);
}

Rows read_rows(const std::string& path, std::int64_t max_rows, const std::string& beside, const Communicator& comm,
               const std::function<void(const Json&, const Place&, Row&)>& fill) {
  Rows mine(beside);
  guarded(comm, [&] {
    LineReader reader(path);
    const auto total = static_cast<long>(reader.size_bytes() >> 10);
    Progress progress("dataset", "KiB", total);
    std::string line;
    for (std::int64_t index = 0; (max_rows == 0 || index < max_rows) && reader.next(line);) {
      if (line.find_first_not_of(" \t\r\n") == std::string::npos) continue;
      if (index++ % comm.size() != comm.rank()) continue;
      const Place place{path, reader.line_number()};
      Json json;
      try {
        json = Json::parse(line);
      } catch (const Json::exception& error) {
        place.fail(json_complaint(error), "the row cannot be read");
      }
      if (!json.is_object()) place.fail("the line is no JSON object", "a row is an object with named fields");
      Row row{.line = reader.line_number(), .owner = comm.rank()};
      fill(json, place, row);
      mine.append(row);
      if (mine.size() % 256 != 0) continue;
      stop_here_if_requested("reading " + path);
      progress.update(std::min(total - 1, static_cast<long>(reader.bytes_read() >> 10)), concat(index, " rows"));
    }
    progress.update(total);
  });
  if (comm.all_reduce(mine.size()) == 0)
    fail_data(concat(path, " holds no rows"), "there is nothing to learn from", "give another file");
  return mine;
}

}  // namespace rluf
