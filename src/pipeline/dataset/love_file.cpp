#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "dataset_files.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/dataset/selection.hpp"
#include "row_reader.hpp"

namespace rluf {
namespace {

/// Text that two rows share only if user, messages and response are equal: parts with their lengths in front.
std::string identity_text(const std::string& user, const std::vector<Message>& messages, const std::string& response) {
  std::string text;
  const auto add = [&](const std::string& part) { text += std::to_string(part.size()) + ":" + part; };
  add(user);
  for (const Message& message : messages) {
    add(message.role);
    add(message.content);
  }
  add(response);
  return text;
}

std::vector<Row> read_log(const std::string& input, ByteSpool& spool, const BuildContext& context) {
  const auto user_key = hash_key("user " + context.data.user_key);
  return read_rows(input, context.data.max_rows, context.comm, [&](const Json& json, const Place& place, Row& row) {
    const std::vector<Message> messages = context_of(json, place);
    const std::string response = text_member(json, "response", place);
    const Json& user_field = member(json, "user_id", place);
    if (!user_field.is_string() && !user_field.is_number_integer())
      place.fail("the field \"user_id\" is neither text nor an integer", "users are told apart by it");
    const std::string user = user_field.is_string() ? user_field.get<std::string>() : user_field.dump();
    const Json& signals = member(json, "signals", place);
    if (!signals.is_object()) place.fail("the field \"signals\" is no object", "the label is read from it");
    const double label = number_member(signals, context.data.signal.c_str(), place);
    if (label != 0.0 && label != 1.0)
      place.fail(concat("signals.", context.data.signal, " is ", label), "a label is 0 or 1");
    const double time = number_member(json, "timestamp", place);
    if (!(std::abs(time) < 1e15)) place.fail("the field \"timestamp\" is out of range", "it is in seconds");
    row.timestamp = static_cast<std::int64_t>(std::floor(time));
    row.value = label;
    row.user = static_cast<std::int64_t>(siphash(user_key, user));
    const std::string identity = identity_text(user, messages, response);
    row.key = {siphash({2, 0}, identity), siphash({3, 0}, identity)};
    const RenderedDocument rendered =
        render_document(messages, response, context.text, context.data.max_turns, context.data.max_tokens);
    count_truncation(row, rendered);
    row.texts[0] = spool_document(spool, rendered.document);
  });
}

/// Keeps the first of equal rows in the order of time. @return how many were removed
std::int64_t remove_duplicates(std::vector<const Row*>& rows) {
  std::set<std::array<std::uint64_t, 2>> seen;
  return static_cast<std::int64_t>(std::erase_if(rows, [&](const Row* row) { return !seen.insert(row->key).second; }));
}

void write_split(Hdf5File& file, const std::string& group, const std::vector<const Row*>& rows, const ByteSpool& spool,
                 const Communicator& comm) {
  write_documents(file, group, rows, 0, spool, comm);
  std::vector<float> labels;
  std::vector<std::int64_t> users, timestamps;
  for (const Row* row : rows) {
    labels.push_back(static_cast<float>(row->value));
    users.push_back(row->user);
    timestamps.push_back(row->timestamp);
  }
  write_column(file, group + "/labels", labels, comm);
  write_column(file, group + "/users", users, comm);
  write_column(file, group + "/timestamps", timestamps, comm);
}

std::int64_t count_positive(const std::vector<const Row*>& rows) {
  return std::count_if(rows.begin(), rows.end(), [](const Row* row) { return row->value > 0.5; });
}

/// What no love model can be learned or judged from is an error here, before hours of training.
void check_log(const std::string& input, const std::string& signal, const std::vector<const Row*>& train,
               const std::vector<const Row*>& holdout) {
  const auto name = concat(input, ": signals.", signal);
  const std::int64_t positives = count_positive(train);
  if (positives == 0)
    fail_data(concat(name, " is 0 in every training row"), "nothing tells good from bad",
              "choose another data.signal or give more rows");
  if (positives == static_cast<std::int64_t>(train.size()))
    fail_data(concat(name, " is 1 in every training row"), "nothing tells good from bad", "choose another data.signal");
  std::set<std::int64_t> users;
  for (const auto* rows : {&train, &holdout})
    for (const Row* row : *rows) users.insert(row->user);
  if (users.size() < 2)
    fail_data(concat(input, " holds one user only"), "intervals are taken over users", "give a log of several users");
  if (!holdout.empty() && count_positive(holdout) == 0)
    fail_data(concat(name, " is 0 in every held-out row"), "the model could not be judged",
              "raise data.holdout_share or give more rows");
}

}  // namespace

nlohmann::json build_love(const std::string& input, const std::string& output, const BuildContext& context) {
  ByteSpool spool(output);
  const std::vector<Row> all = read_log(input, spool, context);
  std::vector<const Row*> rows;
  std::int64_t out_of_order = 0;
  for (const Row& row : all) {
    out_of_order += !rows.empty() && row.timestamp < rows.back()->timestamp;
    rows.push_back(&row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row* a, const Row* b) { return a->timestamp < b->timestamp; });
  const std::int64_t duplicates = remove_duplicates(rows);
  std::vector<std::int64_t> timestamps;
  for (const Row* row : rows) timestamps.push_back(row->timestamp);
  const std::int64_t border = holdout_begin(timestamps, context.data.holdout_share);
  const std::vector<const Row*> train(rows.begin(), rows.begin() + border), holdout(rows.begin() + border, rows.end());
  check_log(input, context.data.signal, train, holdout);

  std::vector<float> labels;
  std::vector<std::int64_t> ids;
  for (const Row* row : train) {
    labels.push_back(static_cast<float>(row->value));
    ids.push_back(row->line);
  }
  const Balance balance = balance_labels(labels, ids, context.data.positive_rate, context.data.balance, context.seed);
  std::vector<const Row*> written;
  std::int64_t dropped_negatives = 0, repeated_positives = 0;
  for (std::size_t i = 0; i < train.size(); ++i) {
    written.insert(written.end(), static_cast<std::size_t>(balance.copies[i]), train[i]);
    dropped_negatives += balance.copies[i] == 0;
    repeated_positives += std::max<std::int64_t>(0, balance.copies[i] - 1);
  }
  const std::int64_t positives = count_positive(written), num_written = static_cast<std::int64_t>(written.size());
  if (positives == num_written)
    fail_data(concat(input, ": no negative is left at data.positive_rate = ", context.data.positive_rate),
              "nothing tells good from bad", "lower data.positive_rate or give more rows");
  if (context.data.positive_rate > 0 && context.data.positive_rate <= balance.natural_rate)
    log_info(concat("dataset: the natural rate of positives, ", balance.natural_rate,
                    ", is already at data.positive_rate or above: the balance is left as it is"));

  std::int64_t truncated_rows = 0, truncated_tokens = 0, dropped_messages = 0;
  for (const Row* row : rows) {
    truncated_rows += row->truncated_tokens > 0 || row->dropped_messages > 0;
    truncated_tokens += row->truncated_tokens;
    dropped_messages += row->dropped_messages;
  }
  Hdf5File file = Hdf5File::create(output, context.comm);
  write_split(file, "train", written, spool, context.comm);
  write_split(file, "holdout", holdout, spool, context.comm);
  write_column(file, "prior_correction", std::vector<double>{balance.prior_correction}, context.comm);
  file.write_attribute("about", context.about);
  file.commit();

  const auto read = static_cast<std::int64_t>(all.size()), num_holdout = static_cast<std::int64_t>(holdout.size());
  RLUF_ASSERT(read == num_written - repeated_positives + dropped_negatives + num_holdout + duplicates);
  return {{"file", input},
          {"read", read},
          {"duplicates", duplicates},
          {"dropped_negatives", dropped_negatives},
          {"repeated_positives", repeated_positives},
          {"train", num_written},
          {"holdout", num_holdout},
          {"truncated_rows", truncated_rows},
          {"truncated_tokens", truncated_tokens},
          {"dropped_messages", dropped_messages},
          {"out_of_order_timestamps", out_of_order},
          {"train_positives", positives},
          {"holdout_positives", count_positive(holdout)},
          {"natural_rate", balance.natural_rate},
          {"training_rate", balance.training_rate},
          {"prior_correction", balance.prior_correction}};
}

}  // namespace rluf
