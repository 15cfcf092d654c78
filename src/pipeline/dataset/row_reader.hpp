#pragma once
/// One pass over a JSON Lines file: every rank decompresses it, parses its share of the lines, and spools the tokens.
#include <functional>
#include <string>
#include <vector>

#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rows.hpp"

namespace rluf {

/// Where a row stands, for its error messages.
struct Place {
  const std::string& path;
  std::int64_t line = 0;
  [[noreturn]] void fail(const std::string& problem, const std::string& why) const;
};

const Json& member(const Json& row, const char* name, const Place& place);
std::string text_member(const Json& row, const char* name, const Place& place);
double number_member(const Json& row, const char* name, const Place& place);
/// messages, or prompt where a file calls it so.
std::vector<Message> context_of(const Json& row, const Place& place);

/// Adds truncation counts of a rendered document to a row.
void count_truncation(Row& row, const RenderedDocument& rendered);

/// Parses this rank's lines (line i mod size); fill(json, place, row) sets all but line and owners. Blank lines are no
/// rows. `beside`: where the rows wait. @return this rank's rows. @collective
/// @throws Error(kBadData) naming FILE:LINE, or for an empty file
Rows read_rows(const std::string& path, std::int64_t max_rows, const std::string& beside, const Communicator& comm,
               const std::function<void(const Json&, const Place&, Row&)>& fill);

}  // namespace rluf
