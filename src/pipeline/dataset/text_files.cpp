#include <ATen/ATen.h>

#include <array>

#include "dataset_files.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/core/random.hpp"
#include "rluf/pipeline/dataset/selection.hpp"
#include "row_order.hpp"
#include "row_reader.hpp"
#include "row_writer.hpp"

namespace rluf {
namespace {

Json to_json(const std::vector<Message>& messages) {
  Json list = Json::array();
  for (const Message& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  return list;
}

/// The prompt alone decides the side, so that no prompt is on both.
bool is_held_out(const Row& row, const BuildContext& context) {
  return RandomStream(context.seed, Purpose::kSplit, 0, row.key[0]).uniform() < context.data.holdout_share;
}

/// Hash of the context; its first word decides the split, both words find equal prompts.
std::array<std::uint64_t, 2> prompt_key(const std::vector<Message>& messages) {
  const std::string text = to_json(messages).dump();
  return {siphash({4, 0}, text), siphash({5, 0}, text)};
}

/// This rank's part of the rows of each side, in the order of lines, and the table of all.
struct Parts {
  std::vector<const Row*> train, holdout;
  nlohmann::json table;
};

/// Splits the rows that stay (`is_dropped(i)` for reasons of that name) and counts everything. @collective
Parts split_rows(const std::string& input, const std::vector<Row>& mine, const std::string& dropped_reason,
                 const std::function<bool(std::size_t)>& is_dropped, const BuildContext& context) {
  Parts parts;
  std::vector<std::int64_t> sums(7, 0);
  auto &read = sums[0], &dropped = sums[1], &train = sums[2], &holdout = sums[3], &truncated_rows = sums[4],
       &truncated_tokens = sums[5], &dropped_messages = sums[6];
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const Row& row = mine[i];
    ++read;
    if (is_dropped(i)) {
      ++dropped;
      continue;
    }
    const bool held_out = is_held_out(row, context);
    (held_out ? parts.holdout : parts.train).push_back(&row);
    ++(held_out ? holdout : train);
    truncated_rows += row.truncated_tokens > 0 || row.dropped_messages > 0;
    truncated_tokens += row.truncated_tokens;
    dropped_messages += row.dropped_messages;
  }
  context.comm.all_reduce(sums);
  RLUF_ASSERT(read == train + holdout + dropped);
  if (train == 0)
    fail_data(concat(input, " leaves no row to train on (", read, " read, ", dropped, " ", dropped_reason, ")"),
              "there is nothing to learn from", "give more rows or lower data.holdout_share");
  parts.table = {{"file", input},
                 {"read", read},
                 {dropped_reason, dropped},
                 {"train", train},
                 {"holdout", holdout},
                 {"truncated_rows", truncated_rows},
                 {"truncated_tokens", truncated_tokens},
                 {"dropped_messages", dropped_messages}};
  return parts;
}

/// Rows of a file in the order of its lines. @collective
std::vector<Row> read_in_order(const std::string& input, const BuildContext& context,
                               const std::function<void(const Json&, const Place&, Row&)>& fill) {
  std::vector<Row> mine = read_rows(input, context.data.max_rows, context.comm, fill);
  sort_rows(
      mine,
      [](const Row& row) {
        return OrderKey{row.line, 0};
      },
      context.comm);
  return mine;
}

}  // namespace

nlohmann::json build_pairs(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const auto rows = read_in_order(input, context, [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const std::string chosen = text_member(json, "chosen", place), rejected = text_member(json, "rejected", place);
    row.key = prompt_key(messages);
    row.reserved = chosen == rejected;
    row.value = json.contains("margin") ? number_member(json, "margin", place) : 0.0;
    std::size_t which = 0;
    for (const std::string* response : {&chosen, &rejected}) {
      const RenderedDocument rendered =
          render_document(messages, *response, context.text, context.data.max_turns, context.data.max_tokens);
      count_truncation(row, rendered);
      row.texts[which++] = spool_document(spool, rendered.document);
    }
  });
  const Parts parts = split_rows(
      input, rows, "identical_responses", [&](std::size_t i) { return rows[i].reserved != 0; }, context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  for (const auto& [group, part] : {std::pair{std::string("train"), &parts.train}, {"holdout", &parts.holdout}}) {
    write_documents(file, group + "/chosen", *part, 0, spool, context.comm);
    write_documents(file, group + "/rejected", *part, 1, spool, context.comm);
    std::vector<float> margins;
    for (const Row* row : *part) margins.push_back(static_cast<float>(row->value));
    write_column(file, group + "/margins", margins, context.comm);
  }
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

nlohmann::json build_prompts(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const auto rows = read_in_order(input, context, [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    row.key = prompt_key(messages);
    const RenderedDocument rendered =
        render_prompt_counted(messages, context.text, context.data.max_turns, context.data.max_tokens);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
    row.texts[1] = spool_text(spool, to_json(messages).dump());
  });
  // Every later row whose prompt was seen before is a duplicate.
  const std::vector<bool> repeated = repeated_keys(rows, context.comm);
  const Parts parts = split_rows(
      input, rows, "duplicates", [&](std::size_t i) { return repeated[i]; }, context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  for (const auto& [group, part] : {std::pair{std::string("train"), &parts.train}, {"holdout", &parts.holdout}}) {
    write_documents(file, group, *part, 0, spool, context.comm);
    write_texts(file, group + "/text", group + "/text_offsets", at::kByte, *part, 1, spool, context.comm);
    std::vector<std::int64_t> ids;
    for (const Row* row : *part) ids.push_back(row->line - 1);
    write_column(file, group + "/ids", ids, context.comm);
  }
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

nlohmann::json build_sft(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const auto rows = read_in_order(input, context, [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const RenderedDocument rendered = render_document(messages, text_member(json, "response", place), context.text,
                                                      context.data.max_turns, context.data.max_tokens);
    row.key = prompt_key(messages);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
  });
  const Parts parts = split_rows(
      input, rows, "dropped", [](std::size_t) { return false; }, context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  write_documents(file, "train", parts.train, 0, spool, context.comm);
  write_documents(file, "holdout", parts.holdout, 0, spool, context.comm);
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

}  // namespace rluf
