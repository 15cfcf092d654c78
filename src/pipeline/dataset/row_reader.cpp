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
  for_each_shared_row(path, max_rows, "dataset", comm, [&](std::int64_t line, const Json& json) {
    Row row{.line = line, .owners = {comm.rank(), comm.rank()}};
    fill(json, {path, line}, row);
    mine.append(row);
  });
  return mine;
}

}  // namespace rluf
