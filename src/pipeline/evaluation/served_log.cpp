#include "rluf/pipeline/evaluation/served_log.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_map>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/pipeline/signals/interaction.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
/// Texts of so many rows stand in memory at a time.
constexpr std::size_t kRowsAtOnce = 4096;

struct KeyHash {
  std::size_t operator()(const std::array<std::uint64_t, 2>& key) const { return key[0]; }
};

/// Adds rows to a log in the order of the file; every rank does the same.
class ServedLogReader {
 public:
  ServedLogReader(const LogOptions& options, const DataOptions& data, const std::string& signal,
                  const RewardModel* love)
      : options_(options),
        data_(data),
        signal_(signal),
        love_(love),
        reader_(data.interactions),
        user_key_(user_hash_key(data.user_key)) {
    if (love) max_tokens_ = std::min(data.max_tokens, love->model.config().max_position_embeddings);
    log_.is_scored = love != nullptr;
  }

  /// Documents of the next new rows, in their order; false at the end of the log.
  bool next(std::vector<Document>& documents) {
    documents.clear();
    const std::size_t first = log_.rows.size();
    std::string line;
    while (log_.rows.size() - first < kRowsAtOnce) {
      if (data_.max_rows > 0 && log_.read == data_.max_rows) return false;
      if (!reader_.next(line)) return false;
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      add(json_row(line, data_.interactions, reader_.line_number()), documents);
    }
    return true;
  }

  ServedLog& log() { return log_; }

  /// Windows can be told once all times are known.
  void finish(std::int64_t num_windows) {
    const std::string& path = data_.interactions;
    if (log_.rows.empty())
      fail_data(concat(path, " has no row to value a policy from: of ", log_.read, " rows ", log_.without_arm,
                       " name no arm in the field \"", options_.arm_field, "\", ", log_.before_start,
                       " are before evaluate.log_start"),
                "the arms' responses are counted", "check evaluate.arm_field and evaluate.log_start");
    if (std::none_of(log_.rows.begin(), log_.rows.end(), [](const ServedResponse& row) { return row.observed; }))
      fail_data(concat(path, ": no row shows signals.", signal_), "the arms are valued by it",
                "check data.signal: it must be a field of the log");
    const auto [first, last] =
        std::minmax_element(log_.rows.begin(), log_.rows.end(),
                            [](const ServedResponse& a, const ServedResponse& b) { return a.timestamp < b.timestamp; });
    const double start = static_cast<double>(first->timestamp),
                 length = static_cast<double>(last->timestamp) - start + 1;
    for (ServedResponse& row : log_.rows)
      row.window = static_cast<std::int32_t>((static_cast<double>(row.timestamp) - start) / length *
                                             static_cast<double>(num_windows));
    log_.num_windows = num_windows;
    log_.num_users = std::ssize(users_);
  }

 private:
  [[noreturn]] void fail_row(const std::string& problem, const std::string& why) const {
    fail_data(concat(data_.interactions, ":", reader_.line_number(), ": ", problem), why,
              "correct the row or leave it out");
  }

  void add(const Json& row, std::vector<Document>& documents) {
    const std::string& path = data_.interactions;
    const std::int64_t line = reader_.line_number();
    ++log_.read;
    const auto arm = row.find(options_.arm_field);
    if (arm == row.end() || arm->is_null()) {
      ++log_.without_arm;
      return;
    }
    ServedResponse served{.timestamp = time_of(row, path, line)};
    if (static_cast<double>(served.timestamp) < options_.start) {
      ++log_.before_start;
      return;
    }
    const std::string user = user_of(row, path, line);
    const std::vector<Message> messages = messages_of(row, path, line);
    const std::string response = field<std::string>(row, "response", path, line);
    served.user = number_of(users_, user_hash(user_key_, user));
    served.arm = numbered(arms_, log_.arms, field<std::string>(row, options_.arm_field, path, line));
    served.use_case = numbered(use_cases_, log_.use_cases, use_case_of(row, path, line).value_or("(none)"));
    read_reward(row, served);
    read_propensity(row, served);
    const auto [known, is_new] = keys_.emplace(interaction_key(user, messages, response), log_.rows.size());
    if (!is_new) {
      ++log_.duplicates;
      ServedResponse& kept = log_.rows[known->second];
      if (served.timestamp < kept.timestamp) {
        served.score = kept.score;  // of the same text
        kept = served;
      }
      return;
    }
    log_.rows.push_back(served);
    if (!love_) return;
    RenderedDocument rendered = render_document(messages, response, *love_->text, data_.max_turns, max_tokens_);
    log_.truncated += rendered.truncated_tokens > 0 ? 1 : 0;
    documents.push_back(std::move(rendered.document));
  }

  void read_reward(const Json& row, ServedResponse& served) const {
    const Json signals = signals_of(row, data_.interactions, reader_.line_number());
    const auto value = signals.find(signal_);
    if (value == signals.end() || value->is_null()) return;
    const double number = value->is_boolean()  ? static_cast<double>(value->get<bool>())
                          : value->is_number() ? value->get<double>()
                                               : kNaN;
    if (number != 0 && number != 1) fail_row(concat("signals.", signal_, " is neither 0 nor 1"), "hearts are counted");
    served.observed = true;
    served.reward = number;
  }

  void read_propensity(const Json& row, ServedResponse& served) const {
    const auto given = row.find(options_.propensity_field);
    if (given == row.end() || given->is_null()) return;
    served.propensity = field<double>(row, options_.propensity_field, data_.interactions, reader_.line_number());
    if (!(served.propensity > 0 && served.propensity <= 1))
      fail_row(concat("the field \"", options_.propensity_field, "\" is ", served.propensity),
               "it is the chance with which the arm was chosen, above 0 and at most 1");
  }

  template <class Key>
  static std::int64_t number_of(std::unordered_map<Key, std::int64_t>& numbers, const Key& key) {
    return numbers.emplace(key, std::ssize(numbers)).first->second;
  }
  static std::int32_t numbered(std::unordered_map<std::string, std::int64_t>& numbers, std::vector<std::string>& names,
                               const std::string& name) {
    const std::int64_t number = number_of(numbers, name);
    if (number == std::ssize(names)) names.push_back(name);
    return static_cast<std::int32_t>(number);
  }

  const LogOptions& options_;
  const DataOptions& data_;
  const std::string& signal_;
  const RewardModel* love_;
  LineReader reader_;
  HashKey user_key_;
  std::int64_t max_tokens_ = 0;
  ServedLog log_;
  std::unordered_map<std::uint64_t, std::int64_t> users_;
  std::unordered_map<std::string, std::int64_t> arms_, use_cases_;
  std::unordered_map<std::array<std::uint64_t, 2>, std::size_t, KeyHash> keys_;
};

}  // namespace

double ServedLog::days() const {
  std::int64_t first = std::numeric_limits<std::int64_t>::max(), last = std::numeric_limits<std::int64_t>::min();
  for (const ServedResponse& row : rows) {
    first = std::min(first, row.timestamp);
    last = std::max(last, row.timestamp);
  }
  return rows.empty() ? 0 : static_cast<double>(last - first) / 86400;
}

ServedLog read_served_log(const LogOptions& options, const DataOptions& data, const std::string& signal,
                          const RewardModel* love, std::int64_t micro_batch_tokens, const StageContext& context) {
  const Communicator& world = context.grid.world;
  std::optional<ServedLogReader> reader;
  guarded(world, [&] { reader.emplace(options, data, signal, love); });
  std::vector<Document> documents;
  for (bool more = true; more;) {
    const std::size_t first = reader->log().rows.size();
    guarded(world, [&] { more = reader->next(documents); });
    ServedLog& log = reader->log();
    if (!love) {
      for (std::size_t i = first; i < log.rows.size(); ++i) log.rows[i].score = kNaN;
      continue;
    }
    if (documents.empty()) continue;
    const auto raw = love->scores(documents, micro_batch_tokens, world, "evaluate log").raw;
    for (std::size_t i = 0; i < raw.size(); ++i)
      log.rows[first + i].score = calibrated_probability(raw[i], love->calibration);
  }
  guarded(world, [&] { reader->finish(options.windows); });
  return std::move(reader->log());
}

}  // namespace rluf
