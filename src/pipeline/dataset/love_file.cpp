#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

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

std::vector<Row> read_log(const std::string& input, ByteSpool& spool, const BuildContext& context) {
  return read_rows(input, context.data.max_rows, context.comm, [&](const Json& json, const Place& place, Row& row) {
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
    row.user = static_cast<std::int64_t>(user_hash(context.data.user_key, user));
    row.key = interaction_key(user, messages, response);
    const RenderedDocument rendered =
        render_document(messages, response, context.text, context.data.max_turns, context.data.max_tokens);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
  });
}

/// Rows that are older than the one before them in the file. `mine` as read: row i of the file is with rank i mod size.
/// @collective
std::int64_t count_out_of_order(const std::vector<Row>& mine, const Communicator& comm) {
  std::vector<std::string> to(static_cast<std::size_t>(comm.size()));
  std::string& next = to[static_cast<std::size_t>((comm.rank() + 1) % comm.size())];
  for (const Row& row : mine) next.append(reinterpret_cast<const char*>(&row.timestamp), sizeof row.timestamp);
  const std::string before =
      comm.all_to_all(to)[static_cast<std::size_t>((comm.rank() + comm.size() - 1) % comm.size())];
  std::int64_t count = 0;
  const std::size_t skip = comm.rank() == 0 ? 1 : 0;  // rank 0's row j follows the last rank's row j - 1
  RLUF_ASSERT(mine.size() <= skip + before.size() / sizeof(std::int64_t));
  for (std::size_t j = skip; j < mine.size(); ++j) {
    std::int64_t timestamp = 0;
    std::memcpy(&timestamp, before.data() + (j - skip) * sizeof timestamp, sizeof timestamp);
    count += mine[j].timestamp < timestamp;
  }
  return comm.all_reduce(count);
}

/// Keeps the first of equal rows in the order. @return how many were removed, of all ranks. @collective
std::int64_t remove_duplicates(std::vector<Row>& mine, const Communicator& comm) {
  const std::vector<bool> repeated = repeated_keys(mine, comm);
  std::size_t i = 0;
  return comm.all_reduce(static_cast<std::int64_t>(std::erase_if(mine, [&](const Row&) { return repeated[i++]; })));
}

/// Leaves out positives of users whom the stage signals lists, as data.reactors says. @return how many, of all ranks.
/// @collective
std::int64_t remove_reactors(std::vector<Row>& mine, const BuildContext& context) {
  return context.comm.all_reduce(static_cast<std::int64_t>(std::erase_if(mine, [&](const Row& row) {
    return row.value > 0.5 && leaves_out(context.reactors, context.data.reactors, static_cast<std::uint64_t>(row.user),
                                         row.timestamp, row.line);
  })));
}

void write_split(Hdf5File& file, const std::string& group, const std::vector<const Row*>& mine, const ByteSpool& spool,
                 const Communicator& comm) {
  write_documents(file, group, mine, 0, spool, comm);
  std::vector<float> labels;
  std::vector<std::int64_t> users, timestamps;
  for (const Row* row : mine) {
    labels.push_back(static_cast<float>(row->value));
    users.push_back(row->user);
    timestamps.push_back(row->timestamp);
  }
  write_column(file, group + "/labels", labels, comm);
  write_column(file, group + "/users", users, comm);
  write_column(file, group + "/timestamps", timestamps, comm);
}

/// Of this rank's rows.
std::int64_t count_positive(const std::vector<const Row*>& mine) {
  return std::count_if(mine.begin(), mine.end(), [](const Row* row) { return row->value > 0.5; });
}

/// What no love model can be learned or judged from is an error here, before hours of training. @collective
void check_log(const std::string& input, const std::string& signal, const std::vector<Row>& mine,
               const LabelCounts& train, std::int64_t num_holdout, std::int64_t holdout_positives,
               const Communicator& comm) {
  const auto name = concat(input, ": signals.", signal);
  if (train.positives == 0)
    fail_data(concat(name, " is 0 in every training row"), "nothing tells good from bad",
              "choose another data.signal or give more rows");
  if (train.negatives == 0)
    fail_data(concat(name, " is 1 in every training row"), "nothing tells good from bad", "choose another data.signal");
  std::int64_t least = std::numeric_limits<std::int64_t>::max(), most = std::numeric_limits<std::int64_t>::min();
  for (const Row& row : mine) {
    least = std::min(least, row.user);
    most = std::max(most, row.user);
  }
  if (comm.all_reduce(least, Reduce::kMin) == comm.all_reduce(most, Reduce::kMax))
    fail_data(concat(input, " holds one user only"), "intervals are taken over users", "give a log of several users");
  if (num_holdout > 0 && holdout_positives == 0)
    fail_data(concat(name, " is 0 in every held-out row"), "the model could not be judged",
              "raise data.holdout_share or give more rows");
}

}  // namespace

nlohmann::json build_love(const std::string& input, const std::string& output, const BuildContext& context) {
  const Communicator& comm = context.comm;
  ByteSpool spool(output);
  std::vector<Row> mine = read_log(input, spool, context);
  const std::int64_t read = comm.all_reduce(static_cast<std::int64_t>(mine.size()));
  const std::int64_t out_of_order = count_out_of_order(mine, comm);
  sort_rows(
      mine,
      [](const Row& row) {
        return OrderKey{row.timestamp, row.line};
      },
      comm);
  const std::int64_t duplicates = remove_duplicates(mine, comm), dropped_reactions = remove_reactors(mine, context);

  std::vector<std::int64_t> timestamps;
  for (const Row& row : mine) timestamps.push_back(row.timestamp);
  const std::int64_t border = holdout_begin(timestamps, context.data.holdout_share, comm),
                     first = comm.exclusive_scan(static_cast<std::int64_t>(mine.size()));
  std::vector<const Row*> train, holdout;
  for (std::size_t i = 0; i < mine.size(); ++i)
    (first + static_cast<std::int64_t>(i) < border ? train : holdout).push_back(&mine[i]);
  const std::int64_t positives_here = count_positive(train);
  const LabelCounts counts{comm.all_reduce(positives_here),
                           comm.all_reduce(static_cast<std::int64_t>(train.size()) - positives_here),
                           comm.exclusive_scan(positives_here)};
  const std::int64_t num_holdout = comm.all_reduce(static_cast<std::int64_t>(holdout.size())),
                     holdout_positives = comm.all_reduce(count_positive(holdout));
  check_log(input, context.data.signal, mine, counts, num_holdout, holdout_positives, comm);

  std::vector<float> labels;
  std::vector<std::int64_t> ids;
  for (const Row* row : train) {
    labels.push_back(static_cast<float>(row->value));
    ids.push_back(row->line);
  }
  const auto copies =
      balanced_copies(labels, ids, counts, context.data.positive_rate, context.data.balance, context.seed);
  std::vector<const Row*> written;
  std::vector<std::int64_t> sums(4, 0);
  auto &dropped_negatives = sums[0], &repeated_positives = sums[1], &num_written = sums[2], &positives = sums[3];
  for (std::size_t i = 0; i < train.size(); ++i) {
    written.insert(written.end(), static_cast<std::size_t>(copies[i]), train[i]);
    dropped_negatives += copies[i] == 0;
    repeated_positives += std::max<std::int64_t>(0, copies[i] - 1);
  }
  num_written = static_cast<std::int64_t>(written.size());
  positives = count_positive(written);
  comm.all_reduce(sums);
  if (positives == num_written)
    fail_data(concat(input, ": no negative is left at data.positive_rate = ", context.data.positive_rate),
              "nothing tells good from bad", "lower data.positive_rate or give more rows");
  const Balance balance = balance_of(counts, positives, num_written);
  if (context.data.positive_rate > 0 && context.data.positive_rate <= balance.natural_rate)
    log_info(concat("dataset: the natural rate of positives, ", balance.natural_rate,
                    ", is already at data.positive_rate or above: the balance is left as it is"));

  std::vector<std::int64_t> truncation(3, 0);
  for (const Row& row : mine) {
    truncation[0] += row.truncated_tokens > 0 || row.dropped_messages > 0;
    truncation[1] += row.truncated_tokens;
    truncation[2] += row.dropped_messages;
  }
  comm.all_reduce(truncation);
  Hdf5File file = Hdf5File::create(output, comm);
  write_split(file, "train", written, spool, comm);
  write_split(file, "holdout", holdout, spool, comm);
  write_column(file, "prior_correction",
               comm.rank() == 0 ? std::vector<double>{balance.prior_correction} : std::vector<double>{}, comm);
  file.write_attribute("about", context.about);
  file.commit();

  RLUF_ASSERT(read ==
              num_written - repeated_positives + dropped_negatives + num_holdout + duplicates + dropped_reactions);
  return {{"file", input},
          {"read", read},
          {"signal", context.data.signal},
          {"duplicates", duplicates},
          {"dropped_reactions", dropped_reactions},
          {"dropped_negatives", dropped_negatives},
          {"repeated_positives", repeated_positives},
          {"train", num_written},
          {"holdout", num_holdout},
          {"truncated_rows", truncation[0]},
          {"truncated_tokens", truncation[1]},
          {"dropped_messages", truncation[2]},
          {"out_of_order_timestamps", out_of_order},
          {"train_positives", positives},
          {"holdout_positives", holdout_positives},
          {"natural_rate", balance.natural_rate},
          {"training_rate", balance.training_rate},
          {"prior_correction", balance.prior_correction}};
}

}  // namespace rluf
