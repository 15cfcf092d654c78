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

/// Hash of the context; its first word decides the split, both words find equal prompts. The same prompt with other
/// `constraints` (empty: none) is another one on the same side.
std::array<std::uint64_t, 2> prompt_key(const std::vector<Message>& messages, const std::string& constraints = "") {
  const std::string text = to_json(messages).dump();
  return {siphash({4, 0}, text), siphash({5, 0}, text + constraints)};
}

/// This rank's part of the rows of each side, in the order of lines, and the table of all.
struct Parts {
  Rows train, holdout;
  nlohmann::json table;
};

/// Splits the rows that are not dropped, for a reason of that name, and counts everything. @collective
Parts split_rows(const std::string& input, const Rows& mine, const std::string& dropped_reason,
                 const BuildContext& context) {
  Parts parts{Rows(mine.beside()), Rows(mine.beside()), {}};
  std::vector<std::int64_t> sums(7, 0);
  auto &read = sums[0], &dropped = sums[1], &train = sums[2], &holdout = sums[3], &truncated_rows = sums[4],
       &truncated_tokens = sums[5], &dropped_messages = sums[6];
  guarded(context.comm, [&] {
    mine.for_each([&](const Row& row) {
      ++read;
      dropped += row.dropped;
      if (row.dropped) return;
      const bool held_out = is_held_out(row, context);
      (held_out ? parts.holdout : parts.train).append(row);
      ++(held_out ? holdout : train);
      truncated_rows += row.truncated_tokens > 0 || row.dropped_messages > 0;
      truncated_tokens += row.truncated_tokens;
      dropped_messages += row.dropped_messages;
    });
  });
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

OrderKey by_line(const Row& row) { return {row.line, 0}; }

}  // namespace

nlohmann::json build_pairs(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const auto fill = [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const std::string chosen = text_member(json, "chosen", place), rejected = text_member(json, "rejected", place);
    row.key = prompt_key(messages);
    row.dropped = chosen == rejected;
    row.value = json.contains("margin") ? number_member(json, "margin", place) : 0.0;
    std::size_t which = 0;
    for (const std::string* response : {&chosen, &rejected}) {
      const RenderedDocument rendered =
          render_document(messages, *response, context.text, context.data.max_turns, context.data.max_tokens);
      count_truncation(row, rendered);
      row.texts[which++] = spool_document(spool, rendered.document);
    }
  };
  const Rows rows =
      sort_rows(read_rows(input, context.data.max_rows, output, context.comm, fill), by_line, context.comm);
  const Parts parts = split_rows(input, rows, "identical_responses", context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  for (const auto& [group, part] : {std::pair{std::string("train"), &parts.train}, {"holdout", &parts.holdout}}) {
    write_documents(file, group + "/chosen", *part, 0, spool, context.comm);
    write_documents(file, group + "/rejected", *part, 1, spool, context.comm);
    write_column<float>(
        file, group + "/margins", *part, [](const Row& row) { return static_cast<float>(row.value); }, context.comm);
  }
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

nlohmann::json build_prompts(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const auto fill = [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const Json constraints = to_json(read_constraints(json, place.path, place.line));
    row.key = prompt_key(messages, constraints.empty() ? "" : constraints.dump());
    const RenderedDocument rendered =
        render_prompt_counted(messages, context.text, context.data.max_turns, context.data.max_tokens);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
    // A prompt that asks for nothing is the list of its messages alone.
    const Json text =
        constraints.empty() ? to_json(messages) : Json{{"messages", to_json(messages)}, {"constraints", constraints}};
    row.texts[1] = spool_text(spool, text.dump());
  };
  const Rows read = read_rows(input, context.data.max_rows, output, context.comm, fill);
  // Every later row whose prompt was seen before is a duplicate.
  const Rows rows = sort_rows(mark_repeated(read, by_line, context.comm), by_line, context.comm);
  const Parts parts = split_rows(input, rows, "duplicates", context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  for (const auto& [group, part] : {std::pair{std::string("train"), &parts.train}, {"holdout", &parts.holdout}}) {
    write_documents(file, group, *part, 0, spool, context.comm);
    write_texts(file, group + "/text", group + "/text_offsets", at::kByte, *part, 1, spool, context.comm);
    write_column<std::int64_t>(
        file, group + "/ids", *part, [](const Row& row) { return row.line - 1; }, context.comm);
  }
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

nlohmann::json build_sft(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const auto fill = [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const RenderedDocument rendered = render_document(messages, text_member(json, "response", place), context.text,
                                                      context.data.max_turns, context.data.max_tokens);
    row.key = prompt_key(messages);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
  };
  const Rows rows =
      sort_rows(read_rows(input, context.data.max_rows, output, context.comm, fill), by_line, context.comm);
  const Parts parts = split_rows(input, rows, "dropped", context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  write_documents(file, "train", parts.train, 0, spool, context.comm);
  write_documents(file, "holdout", parts.holdout, 0, spool, context.comm);
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

}  // namespace rluf
