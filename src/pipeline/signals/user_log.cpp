#include "rluf/pipeline/signals/user_log.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

#include "rluf/core/error.hpp"

namespace rluf {
namespace {

constexpr std::size_t kMaxUseCases = 24;

/// Counts under names, of all ranks. @collective
std::map<std::string, std::int64_t> gathered(const std::map<std::string, std::int64_t>& mine,
                                             const Communicator& comm) {
  std::map<std::string, std::int64_t> all;
  for (const std::string& part : comm.all_gather(Json(mine).dump()))
    for (const auto& [name, count] : Json::parse(part).get<std::map<std::string, std::int64_t>>()) all[name] += count;
  return all;
}

/// One numbering of the signals for all ranks. @collective
void agree_on_signals(const InteractionReader& reader, std::vector<Interaction>& mine, UserLog& log,
                      const Communicator& comm) {
  std::map<std::string, std::int64_t> names;
  for (const std::string& name : reader.signals()) names[name] = 1;
  log.not_binary = gathered(reader.not_binary(), comm);
  for (const auto& [name, count] : gathered(names, comm))
    if (!log.not_binary.contains(name)) log.signals.push_back(name);
  log.num_logged = log.signals.size();
  if (log.num_logged > kMaxLoggedSignals)
    fail_data(concat("the log has ", log.num_logged, " fields of signals{}, more than ", kMaxLoggedSignals),
              "they are compared pair by pair", "leave some out");
  std::vector<std::uint64_t> bits;  // of the reader's numbers; 0: left out
  for (const std::string& name : reader.signals()) {
    const auto found = std::find(log.signals.begin(), log.signals.end(), name);
    bits.push_back(found == log.signals.end() ? 0 : std::uint64_t{1} << (found - log.signals.begin()));
  }
  for (Interaction& row : mine) {
    std::uint64_t values = 0, known = 0;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      if (row.has(i)) values |= bits[i];
      if (row.knows(i)) known |= bits[i];
    }
    row.values = values;
    row.known = known;
  }
}

/// The same for use cases. @collective
void agree_on_use_cases(const InteractionReader& reader, std::vector<Interaction>& mine, UserLog& log,
                        const Communicator& comm) {
  std::map<std::string, std::int64_t> counts;
  for (const Interaction& row : mine)
    if (row.use_case >= 0) ++counts[reader.use_cases()[static_cast<std::size_t>(row.use_case)]];
  const auto all = gathered(counts, comm);
  std::vector<std::pair<std::int64_t, std::string>> order;
  for (const auto& [name, count] : all) order.emplace_back(-count, name);
  std::sort(order.begin(), order.end());
  const bool some_share = order.size() > kMaxUseCases;
  std::map<std::string, std::int32_t> numbers;
  for (const auto& [count, name] : order) {
    if (!some_share || log.use_cases.size() + 1 < kMaxUseCases) log.use_cases.push_back(name);
    numbers[name] = static_cast<std::int32_t>(std::min(numbers.size(), kMaxUseCases - 1));
  }
  if (some_share) log.use_cases.emplace_back("(others)");
  for (Interaction& row : mine)
    if (row.use_case >= 0) row.use_case = numbers.at(reader.use_cases()[static_cast<std::size_t>(row.use_case)]);
}

/// Rows to the ranks of their users. @collective
std::vector<Interaction> dealt_by_user(std::vector<Interaction> mine, const Communicator& comm) {
  static_assert(std::is_trivially_copyable_v<Interaction>);
  std::vector<std::string> to(static_cast<std::size_t>(comm.size()));
  for (const Interaction& row : mine)
    to[static_cast<std::size_t>(rank_of_part(part_of_user(row.user), comm.size()))].append(
        reinterpret_cast<const char*>(&row), sizeof row);
  mine = {};
  std::vector<std::string> from = comm.all_to_all(to);
  to = {};
  std::vector<Interaction> rows;
  for (std::string& part : from) {
    const std::size_t begin = rows.size();
    rows.resize(begin + part.size() / sizeof(Interaction));
    if (!part.empty()) std::memcpy(static_cast<void*>(&rows[begin]), part.data(), part.size());
    part = {};
  }
  std::sort(rows.begin(), rows.end(), [](const Interaction& a, const Interaction& b) {
    return std::tie(a.user, a.timestamp, a.line) < std::tie(b.user, b.timestamp, b.line);
  });
  return rows;
}

/// Keeps the first of equal rows. @return how many were removed
std::int64_t remove_duplicates(std::vector<Interaction>& rows) {
  std::vector<bool> repeated(rows.size(), false);
  std::size_t begin = 0;
  for_each_user(std::span<const Interaction>(rows), [&](std::span<const Interaction> user) {
    std::map<std::array<std::uint64_t, 2>, int> seen;
    for (std::size_t i = 0; i < user.size(); ++i) repeated[begin + i] = !seen.emplace(user[i].key, 0).second;
    begin += user.size();
  });
  std::size_t i = 0;
  return static_cast<std::int64_t>(std::erase_if(rows, [&](const Interaction&) { return repeated[i++]; }));
}

template <class Row>
void visit_users(std::span<Row> rows, const std::function<void(std::span<Row>)>& action) {
  for (std::size_t first = 0; first < rows.size();) {
    std::size_t last = first + 1;
    while (last < rows.size() && rows[last].user == rows[first].user) ++last;
    action(rows.subspan(first, last - first));
    first = last;
  }
}

}  // namespace

int part_of_user(std::uint64_t user) { return static_cast<int>(user >> 54); }

int rank_of_part(int part, int num_ranks) {
  return static_cast<int>(static_cast<std::int64_t>(part) * num_ranks / kUserParts);
}

void for_each_user(std::span<const Interaction> rows, const std::function<void(std::span<const Interaction>)>& action) {
  visit_users<const Interaction>(rows, action);
}
void for_each_user(std::span<Interaction> rows, const std::function<void(std::span<Interaction>)>& action) {
  visit_users<Interaction>(rows, action);
}

UserLog read_user_log(const std::string& path, std::int64_t max_rows, const std::string& user_key,
                      const std::string& retention, const Communicator& comm) {
  InteractionReader reader(user_key, retention);
  std::vector<Interaction> mine;
  const std::int64_t read =
      for_each_shared_row(path, max_rows, "signals", comm,
                          [&](std::int64_t line, const Json& row) { mine.push_back(reader.read(row, path, line)); });
  UserLog log = user_log_of(reader, std::move(mine), comm);
  log.read = read;
  return log;
}

UserLog user_log_of(const InteractionReader& reader, std::vector<Interaction> mine, const Communicator& comm) {
  UserLog log;
  agree_on_signals(reader, mine, log, comm);
  agree_on_use_cases(reader, mine, log, comm);
  log.rows = dealt_by_user(std::move(mine), comm);
  log.duplicates = comm.all_reduce(remove_duplicates(log.rows));
  log.first_time = std::numeric_limits<std::int64_t>::max();
  log.last_time = std::numeric_limits<std::int64_t>::min();
  for (const Interaction& row : log.rows) {
    log.first_time = std::min(log.first_time, row.timestamp);
    log.last_time = std::max(log.last_time, row.timestamp);
  }
  log.first_time = comm.all_reduce(log.first_time, Reduce::kMin);
  log.last_time = comm.all_reduce(log.last_time, Reduce::kMax);
  return log;
}

}  // namespace rluf
