#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "dataset_files.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/dataset/selection.hpp"
#include "rluf/pipeline/signals/interaction.hpp"
#include "row_order.hpp"
#include "row_reader.hpp"
#include "row_writer.hpp"

namespace rluf {
namespace {

/// A number, or 1 and 0 for true and false.
std::optional<double> number_of(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

/// As LabelledData::facts and numbers read them.
std::string facts_of(const Json& row, const std::vector<Message>& messages, const std::string& label,
                     const Place& place) {
  Json facts{{"use_case", use_case_of(row, place.path, place.line).value_or("")}, {"signals", Json::array()}};
  facts["position"] = 1 + std::count_if(messages.begin(), messages.end(),
                                        [](const Message& message) { return message.role == "assistant"; });
  const Json& signals = member(row, "signals", place);
  Json numbers = Json::object();
  for (const auto& [name, value] : row.items())  // a number that names or dates a row is not one to learn
    if (const auto number = number_of(value); number && name != label && name != "timestamp" && !name.ends_with("_id"))
      numbers[name] = *number;
  for (const auto& [name, value] : signals.items()) {
    const auto number = number_of(value);
    if (!number || name == label) continue;
    numbers.erase(name);
    if (*number == 1) {
      facts["signals"].push_back(name);
    } else {
      numbers[name] = *number;
    }
  }
  if (!numbers.empty()) facts["numbers"] = numbers;
  return facts.dump();
}

Rows read_log(const std::string& input, const std::string& output, ByteSpool& spool, const BuildContext& context) {
  const HashKey user_key = user_hash_key(context.data.user_key);
  const auto fill = [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const std::string response = text_member(json, "response", place);
    const std::string user = user_of(json, place.path, place.line);
    const Json& signals = member(json, "signals", place);
    if (!signals.is_object()) place.fail("the field \"signals\" is no object", "the label is read from it");
    const double label = number_member(signals, context.data.signal.c_str(), place);
    if (label != 0.0 && label != 1.0)
      place.fail(concat("signals.", context.data.signal, " is ", label), "a label is 0 or 1");
    row.timestamp = time_of(json, place.path, place.line);
    row.value = label;
    row.user = static_cast<std::int64_t>(user_hash(user_key, user));
    row.key = interaction_key(user, messages, response);
    const RenderedDocument rendered =
        render_document(messages, response, context.text, context.data.max_turns, context.data.max_tokens);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
    row.texts[1] = spool_text(spool, facts_of(json, messages, context.data.signal, place));
  };
  return read_rows(input, context.data.max_rows, output, context.comm, fill);
}

/// Rows that are older than the one before them in the file. `mine` as read: row i of the file is with rank i mod size.
/// @collective
std::int64_t count_out_of_order(const Rows& mine, const Communicator& comm) {
  const auto size = static_cast<std::size_t>(comm.size()), rank = static_cast<std::size_t>(comm.rank());
  std::int64_t count = 0, last = std::numeric_limits<std::int64_t>::min();
  for_slices(mine, exchange_bytes(comm), comm, [&](const std::vector<Row>& slice) {
    std::vector<std::vector<std::int64_t>> to(size);
    for (const Row& row : slice) to[(rank + 1) % size].push_back(row.timestamp);
    std::vector<std::int64_t> before = exchanged(to, comm)[(rank + size - 1) % size];
    if (rank == 0) {  // row j of rank 0 follows row j - 1 of the last rank
      before.insert(before.begin(), last);
      last = before.back();
    }
    RLUF_ASSERT(slice.size() <= before.size());
    for (std::size_t i = 0; i < slice.size(); ++i) count += slice[i].timestamp < before[i];
  });
  return comm.all_reduce(count);
}

/// @return how many rows were removed, of all ranks. @collective
std::int64_t remove_rows(Rows& mine, const Communicator& comm, const std::function<bool(const Row&)>& goes) {
  Rows kept(mine.beside());
  std::int64_t removed = 0;
  guarded(comm, [&] {
    mine.for_each([&](const Row& row) {
      if (goes(row)) {
        ++removed;
      } else {
        kept.append(row);
      }
    });
  });
  mine = std::move(kept);
  return comm.all_reduce(removed);
}

/// Keeps the first of equal rows in the order. @return how many were removed, of all ranks. @collective
std::int64_t remove_duplicates(Rows& mine, const Order& order, const Communicator& comm) {
  mine = mark_repeated(mine, order, comm);
  return remove_rows(mine, comm, [](const Row& row) { return row.dropped; });
}

/// Leaves out positives of users whom the stage signals lists, as data.reactors says. @return how many, of all ranks.
/// @collective
std::int64_t remove_reactors(Rows& mine, const BuildContext& context) {
  if (context.data.reactors == "keep") return 0;
  return remove_rows(mine, context.comm, [&](const Row& row) {
    return row.value > 0.5 && leaves_out(context.reactors, context.data.reactors, static_cast<std::uint64_t>(row.user),
                                         row.timestamp, row.line);
  });
}

void write_split(Hdf5File& file, const std::string& group, const Rows& mine, const ByteSpool& spool,
                 const Communicator& comm) {
  write_documents(file, group, mine, 0, spool, comm);
  write_texts(file, group + "/facts", group + "/facts_offsets", at::kByte, mine, 1, spool, comm);
  write_column<float>(
      file, group + "/labels", mine, [](const Row& row) { return static_cast<float>(row.value); }, comm);
  write_column<std::int64_t>(
      file, group + "/users", mine, [](const Row& row) { return row.user; }, comm);
  write_column<std::int64_t>(
      file, group + "/timestamps", mine, [](const Row& row) { return row.timestamp; }, comm);
}

/// The rows of a log that stay, before the balance is changed.
struct LogCounts {
  LabelCounts train;
  std::int64_t num_holdout = 0, holdout_positives = 0, truncated_rows = 0, truncated_tokens = 0, dropped_messages = 0;
  bool has_one_user = false;
};

/// Of all ranks' rows, of which `mine` are this rank's; those from `border` on are held out. @collective
LogCounts count_log(const Rows& mine, std::int64_t border, const Communicator& comm) {
  LogCounts counts;
  std::int64_t least = std::numeric_limits<std::int64_t>::max(), most = std::numeric_limits<std::int64_t>::min();
  guarded(comm, [&] {
    std::int64_t i = 0;
    mine.for_each([&](const Row& row) {
      const bool positive = row.value > 0.5;
      if (i++ < border) {
        ++(positive ? counts.train.positives : counts.train.negatives);
      } else {
        ++counts.num_holdout;
        counts.holdout_positives += positive;
      }
      counts.truncated_rows += row.truncated_tokens > 0 || row.dropped_messages > 0;
      counts.truncated_tokens += row.truncated_tokens;
      counts.dropped_messages += row.dropped_messages;
      least = std::min(least, row.user);
      most = std::max(most, row.user);
    });
  });
  counts.train.positives_before = comm.exclusive_scan(counts.train.positives);
  for (std::int64_t* count :
       {&counts.train.positives, &counts.train.negatives, &counts.num_holdout, &counts.holdout_positives,
        &counts.truncated_rows, &counts.truncated_tokens, &counts.dropped_messages})
    *count = comm.all_reduce(*count);
  counts.has_one_user = comm.all_reduce(least, Reduce::kMin) == comm.all_reduce(most, Reduce::kMax);
  return counts;
}

/// What no love model can be learned or judged from is an error here, before hours of training.
void check_log(const std::string& input, const std::string& signal, const LogCounts& counts) {
  const auto name = concat(input, ": signals.", signal);
  if (counts.train.positives == 0)
    fail_data(concat(name, " is 0 in every training row"), "nothing tells good from bad",
              "choose another data.signal or give more rows");
  if (counts.train.negatives == 0)
    fail_data(concat(name, " is 1 in every training row"), "nothing tells good from bad", "choose another data.signal");
  if (counts.has_one_user)
    fail_data(concat(input, " holds one user only"), "intervals are taken over users", "give a log of several users");
  if (counts.num_holdout > 0 && counts.holdout_positives == 0)
    fail_data(concat(name, " is 0 in every held-out row"), "the model could not be judged",
              "raise data.holdout_share or give more rows");
}

}  // namespace

nlohmann::json build_love(const std::string& input, const std::string& output, const BuildContext& context) {
  const Communicator& comm = context.comm;
  const Order by_time = [](const Row& row) { return OrderKey{row.timestamp, row.line}; };
  ByteSpool spool(output);
  Rows mine = read_log(input, output, spool, context);
  const std::int64_t read = comm.all_reduce(mine.size()), out_of_order = count_out_of_order(mine, comm),
                     duplicates = remove_duplicates(mine, by_time, comm),
                     dropped_reactions = remove_reactors(mine, context);
  mine = sort_rows(mine, by_time, comm);
  const auto time_of = [&](std::int64_t i) { return mine.at(i).timestamp; };
  const std::int64_t first = comm.exclusive_scan(mine.size()),
                     border = holdout_begin(mine.size(), time_of, context.data.holdout_share, comm) - first;
  const LogCounts counts = count_log(mine, border, comm);
  check_log(input, context.data.signal, counts);

  Rows train(output), holdout(output);
  std::vector<std::int64_t> sums(4, 0);
  auto &dropped_negatives = sums[0], &repeated_positives = sums[1], &num_written = sums[2], &positives = sums[3];
  guarded(comm, [&] {
    Balancer balancer(counts.train, context.data.positive_rate, context.data.balance, context.seed);
    std::int64_t i = 0;
    mine.for_each([&](const Row& row) {
      if (i++ >= border) return holdout.append(row);
      const bool positive = row.value > 0.5;
      const std::int64_t copies = balancer.copies(positive, row.line);
      for (std::int64_t copy = 0; copy < copies; ++copy) train.append(row);
      dropped_negatives += copies == 0;
      repeated_positives += std::max<std::int64_t>(0, copies - 1);
      num_written += copies;
      positives += positive ? copies : 0;
    });
  });
  comm.all_reduce(sums);
  if (positives == num_written)
    fail_data(concat(input, ": no negative is left at data.positive_rate = ", context.data.positive_rate),
              "nothing tells good from bad", "lower data.positive_rate or give more rows");
  const Balance balance = balance_of(counts.train, positives, num_written);
  if (context.data.positive_rate > 0 && context.data.positive_rate <= balance.natural_rate)
    log_info(concat("dataset: the natural rate of positives, ", balance.natural_rate,
                    ", is already at data.positive_rate or above: the balance is left as it is"));

  Hdf5File file = Hdf5File::create(output, comm);
  write_split(file, "train", train, spool, comm);
  write_split(file, "holdout", holdout, spool, comm);
  file.create_dataset("prior_correction", at::kDouble, {1});
  file.write_rows("prior_correction", 0, at::full({comm.rank() == 0 ? 1 : 0}, balance.prior_correction, at::kDouble));
  file.write_attribute("about", context.about);
  file.commit();

  RLUF_ASSERT(read == num_written - repeated_positives + dropped_negatives + counts.num_holdout + duplicates +
                          dropped_reactions);
  return {{"file", input},
          {"read", read},
          {"signal", context.data.signal},
          {"duplicates", duplicates},
          {"dropped_reactions", dropped_reactions},
          {"dropped_negatives", dropped_negatives},
          {"repeated_positives", repeated_positives},
          {"train", num_written},
          {"holdout", counts.num_holdout},
          {"truncated_rows", counts.truncated_rows},
          {"truncated_tokens", counts.truncated_tokens},
          {"dropped_messages", counts.dropped_messages},
          {"out_of_order_timestamps", out_of_order},
          {"train_positives", positives},
          {"holdout_positives", counts.holdout_positives},
          {"natural_rate", balance.natural_rate},
          {"training_rate", balance.training_rate},
          {"prior_correction", balance.prior_correction}};
}

}  // namespace rluf
