#include <ATen/ATen.h>

#include <array>
#include <numeric>

#include "dataset_files.hpp"
#include "pair_rows.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/core/random.hpp"
#include "rluf/pipeline/dataset/pair_layouts.hpp"
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

/// Splits the rows that are not dropped and counts everything; Row::dropped is a position in `reasons`, from 1.
/// @collective
Parts split_rows(const std::string& input, const Rows& mine, const std::vector<std::string>& reasons,
                 const BuildContext& context) {
  Parts parts{Rows(mine.beside()), Rows(mine.beside()), {}};
  std::vector<std::int64_t> sums(6, 0), dropped(reasons.size(), 0);
  auto &read = sums[0], &train = sums[1], &holdout = sums[2], &truncated_rows = sums[3], &truncated_tokens = sums[4],
       &dropped_messages = sums[5];
  guarded(context.comm, [&] {
    mine.for_each([&](const Row& row) {
      ++read;
      if (row.dropped != 0) {
        ++dropped.at(static_cast<std::size_t>(row.dropped - 1));
        return;
      }
      const bool held_out = is_held_out(row, context);
      (held_out ? parts.holdout : parts.train).append(row);
      ++(held_out ? holdout : train);
      truncated_rows += row.truncated_tokens > 0 || row.dropped_messages > 0;
      truncated_tokens += row.truncated_tokens;
      dropped_messages += row.dropped_messages;
    });
  });
  context.comm.all_reduce(sums);
  context.comm.all_reduce(dropped);
  RLUF_ASSERT(read == std::accumulate(dropped.begin(), dropped.end(), train + holdout));
  std::string account;
  for (std::size_t i = 0; i < reasons.size(); ++i) account += concat(", ", dropped[i], " ", reasons[i]);
  if (train == 0)
    fail_data(concat(input, " leaves no row to train on (", read, " read", account, ")"),
              "there is nothing to learn from", "give more rows or lower data.holdout_share");
  parts.table = {{"file", input},
                 {"read", read},
                 {"train", train},
                 {"holdout", holdout},
                 {"truncated_rows", truncated_rows},
                 {"truncated_tokens", truncated_tokens},
                 {"dropped_messages", dropped_messages}};
  for (std::size_t i = 0; i < reasons.size(); ++i) parts.table[reasons[i]] = dropped[i];
  return parts;
}

OrderKey by_line(const Row& row) { return {row.line, 0}; }

/// Documents of a prompt's responses, spooled in that order.
void fill_texts(Row& row, const std::vector<Message>& prompt, const std::vector<std::string>& responses,
                ByteSpool& spool, const BuildContext& context) {
  row.key = prompt_key(prompt);
  for (std::size_t which = 0; which < responses.size(); ++which) {
    const RenderedDocument rendered =
        render_document(prompt, responses[which], context.text, context.data.max_turns, context.data.max_tokens);
    count_truncation(row, rendered);
    row.texts.at(which) = spool_document(spool, rendered.document);
  }
}

Rows read_pairs(const std::string& input, const std::string& output, PairLayout layout, ByteSpool& spool,
                const BuildContext& context) {
  return read_rows(input, context.data.max_rows, output, context.comm,
                   [&](const Json& json, const Place& place, Row& row) {
                     const PreferencePair pair = read_pair(json, layout, place.path, place.line);
                     const bool is_scored = json.contains("score_chosen");
                     row.value = pair.margin;
                     row.dropped = pair.chosen == pair.rejected     ? kIdenticalResponses
                                   : is_scored && pair.margin < 0.0 ? kContradictingScores
                                                                    : 0;
                     fill_texts(row, pair.prompt, {pair.chosen, pair.rejected}, spool, context);
                   });
}

Rows read_responses(const std::string& input, const std::string& output, PairLayout layout, ByteSpool& spool,
                    const BuildContext& context) {
  return read_rows(input, context.data.max_rows, output, context.comm,
                   [&](const Json& json, const Place& place, Row& row) {
                     const RatedResponse rated = read_rated(json, layout, place.path, place.line);
                     row.value = rated.score;
                     row.user = static_cast<std::int64_t>(siphash({6, 0}, rated.response));
                     fill_texts(row, rated.prompt, {rated.response}, spool, context);
                   });
}

/// The pairs of a file, unsorted, and for the table what became of rows that are one response. @collective
std::pair<Rows, Json> pairs_of(const std::string& input, const std::string& output, PairLayout layout, ByteSpool& spool,
                               const BuildContext& context) {
  if (!is_unpaired(layout)) return {read_pairs(input, output, layout, spool, context), Json::object()};
  const Rows responses = read_responses(input, output, layout, spool, context);
  Rows pairs = pair_up(responses, layout == PairLayout::kScored, context.comm);
  const std::int64_t num_responses = context.comm.all_reduce(responses.size()),
                     num_pairs = context.comm.all_reduce(pairs.size());
  if (num_pairs == 0)
    fail_data(concat(input, ": no prompt has two responses of which one is better (", num_responses, " rows read)"),
              "rows of one response are compared within their prompt", "give more responses to each prompt");
  return {std::move(pairs), Json{{"partners", num_pairs}, {"no_partner", num_responses - 2 * num_pairs}}};
}

}  // namespace

nlohmann::json build_pairs(const std::string& input, const std::string& output, const BuildContext& context) {
  PairLayout layout{};
  guarded(context.comm, [&] { layout = layout_of_file(input); });
  ByteSpool spool(output);
  const auto [pairs, partners] = pairs_of(input, output, layout, spool, context);
  const Rows rows = sort_rows(pairs, by_line, context.comm);
  Parts parts = split_rows(input, rows, kDroppedPairs, context);
  parts.table["layout"] = layout_name(layout);
  for (const auto& [name, count] : partners.items()) {  // a pair of two rows is one row and its partner
    parts.table[name] = count;
    parts.table["read"] = parts.table["read"].get<std::int64_t>() + count.get<std::int64_t>();
  }
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
  const Parts parts = split_rows(input, rows, {"duplicates"}, context);
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
  const Parts parts = split_rows(input, rows, {"dropped"}, context);
  Hdf5File file = Hdf5File::create(output, context.comm);
  write_documents(file, "train", parts.train, 0, spool, context.comm);
  write_documents(file, "holdout", parts.holdout, 0, spool, context.comm);
  file.write_attribute("about", context.about);
  file.commit();
  return parts.table;
}

}  // namespace rluf
