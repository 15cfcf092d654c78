#include "row_order.hpp"

#include <algorithm>
#include <optional>
#include <queue>

namespace rluf {
namespace {

constexpr std::int64_t kSampledRows = 4096;  ///< of each rank ...
constexpr std::size_t kSamples = 64;         ///< ... of which these tell where the borders between ranks should be
constexpr std::size_t kRunRows = 16384;      ///< that are sorted in memory

using Before = std::function<bool(const Row&, const Row&)>;

/// size - 1 keys: rank r gets what is not below border r - 1 and below border r. @collective
std::vector<OrderKey> borders_of(const Rows& rows, const Order& order, const Communicator& comm) {
  std::vector<std::int64_t> sample;
  guarded(comm, [&] {
    std::vector<OrderKey> mine;
    const std::int64_t num_mine = std::min(kSampledRows, rows.size());
    for (std::int64_t i = 0; i < num_mine; ++i) mine.push_back(order(rows.at(i * rows.size() / num_mine)));
    std::sort(mine.begin(), mine.end());
    const std::size_t count = std::min(kSamples, mine.size());
    for (std::size_t i = 0; i < count; ++i) {
      const OrderKey& key = mine[i * mine.size() / count];
      sample.insert(sample.end(), {key.first, key.second});
    }
  });
  const std::vector<std::int64_t> all = comm.all_gather(sample);
  std::vector<OrderKey> keys, borders;
  for (std::size_t i = 0; i < all.size(); i += 2) keys.emplace_back(all[i], all[i + 1]);
  std::sort(keys.begin(), keys.end());
  const auto size = static_cast<std::size_t>(comm.size());
  for (std::size_t rank = 1; rank < size && !keys.empty(); ++rank) borders.push_back(keys[rank * keys.size() / size]);
  return borders;
}

/// Runs [0, ends[0]), [ends[0], ends[1]), ... that are each sorted, as one.
Rows merged(const Rows& runs, const std::vector<std::int64_t>& ends, const Before& before) {
  struct Head {
    Row row;
    std::int64_t next, end;  ///< the rest of its run
  };
  const auto is_later = [&](const Head& a, const Head& b) { return before(b.row, a.row); };
  std::priority_queue<Head, std::vector<Head>, decltype(is_later)> heads(is_later);
  const auto push_head = [&](std::int64_t next, std::int64_t end) {
    if (next < end) heads.push({runs.at(next), next + 1, end});
  };
  for (std::size_t i = 0; i < ends.size(); ++i) push_head(i == 0 ? 0 : ends[i - 1], ends[i]);
  Rows sorted(runs.beside());
  while (!heads.empty()) {
    const Head first = heads.top();
    heads.pop();
    sorted.append(first.row);
    push_head(first.next, first.end);
  }
  return sorted;
}

/// Everyone's rows dealt out again: rank rank_of(row) gets the row, and has its rows sorted. @collective
Rows deal_out(const Rows& rows, const std::function<std::size_t(const Row&)>& rank_of, const Before& before,
              const Communicator& comm) {
  Rows runs(rows.beside()), sorted(rows.beside());
  std::vector<std::int64_t> ends;
  std::vector<Row> run;
  const auto end_run = [&] {
    std::sort(run.begin(), run.end(), before);
    for (const Row& row : run) runs.append(row);
    ends.push_back(runs.size());
    run.clear();
  };
  for_slices(rows, exchange_bytes(comm), comm, [&](const std::vector<Row>& slice) {
    std::vector<std::vector<Row>> to(static_cast<std::size_t>(comm.size()));
    for (const Row& row : slice) to[rank_of(row)].push_back(row);
    for (const std::vector<Row>& from : exchanged(to, comm))
      for (const Row& row : from) {
        run.push_back(row);
        if (run.size() == kRunRows) end_run();
      }
  });
  guarded(comm, [&] {
    end_run();
    sorted = merged(runs, ends, before);
  });
  RLUF_ASSERT(comm.all_reduce(sorted.size()) == comm.all_reduce(rows.size()));
  return sorted;
}

}  // namespace

Rows sort_rows(const Rows& rows, const Order& order, const Communicator& comm) {
  const std::vector<OrderKey> borders = borders_of(rows, order, comm);
  const auto rank_of = [&](const Row& row) {
    return static_cast<std::size_t>(std::upper_bound(borders.begin(), borders.end(), order(row)) - borders.begin());
  };
  return deal_out(
      rows, rank_of, [&](const Row& a, const Row& b) { return order(a) < order(b); }, comm);
}

Rows rows_by_key(const Rows& rows, const Order& order, const Communicator& comm) {
  // Equal keys meet on the rank that the key itself names.
  const auto rank_of = [&](const Row& row) { return row.key[0] % static_cast<std::uint64_t>(comm.size()); };
  const auto place = [&](const Row& row) { return std::pair(row.key, order(row)); };
  return deal_out(
      rows, rank_of, [&](const Row& a, const Row& b) { return place(a) < place(b); }, comm);
}

Rows mark_repeated(const Rows& rows, const Order& order, const Communicator& comm) {
  const Rows together = rows_by_key(rows, order, comm);
  Rows marked(rows.beside());
  guarded(comm, [&] {
    std::optional<std::array<std::uint64_t, 2>> key_before;
    together.for_each([&](Row row) {
      row.dropped = key_before == row.key;
      key_before = row.key;
      marked.append(row);
    });
  });
  return marked;
}

}  // namespace rluf
