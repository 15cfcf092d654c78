#include "row_order.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace rluf {
namespace {

constexpr std::size_t kSamples = 64;  ///< of each rank, from which the borders between ranks are chosen
constexpr std::uint64_t kShares = 8;  ///< keys are compared in so many parts, one after the other

template <class T>
void append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
std::vector<T> unpacked(const std::string& bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(static_cast<void*>(values.data()), bytes.data(), bytes.size());
  return values;
}

/// size - 1 keys: rank r gets what is not below border r - 1 and below border r. `sorted`: this rank's. @collective
std::vector<OrderKey> borders_of(const std::vector<Row>& sorted, const std::function<OrderKey(const Row&)>& order,
                                 const Communicator& comm) {
  std::vector<std::int64_t> sample;
  const std::size_t count = std::min(kSamples, sorted.size());
  for (std::size_t i = 0; i < count; ++i) {
    const OrderKey key = order(sorted[i * sorted.size() / count]);
    sample.insert(sample.end(), {key.first, key.second});
  }
  const std::vector<std::int64_t> all = comm.all_gather(sample);
  std::vector<OrderKey> keys, borders;
  for (std::size_t i = 0; i < all.size(); i += 2) keys.emplace_back(all[i], all[i + 1]);
  std::sort(keys.begin(), keys.end());
  const auto size = static_cast<std::size_t>(comm.size());
  for (std::size_t rank = 1; rank < size && !keys.empty(); ++rank) borders.push_back(keys[rank * keys.size() / size]);
  return borders;
}

/// A row as another rank must know it to tell whether it repeats.
struct KeyedRow {
  std::array<std::uint64_t, 2> key;
  std::int64_t position;  ///< in the order over all ranks
  std::int64_t from;      ///< rank
};

/// Marks the rows whose key stands at an earlier position too, among the keys of one share. `first`: position of this
/// rank's first row. @collective
void mark_repeated(const std::vector<Row>& mine, std::int64_t first, std::uint64_t share, const Communicator& comm,
                   std::vector<bool>& repeated) {
  const auto size = static_cast<std::size_t>(comm.size());
  // Equal keys meet on the rank that the key itself names.
  std::vector<std::string> to(size);
  for (std::size_t i = 0; i < mine.size(); ++i)
    if (mine[i].key[1] % kShares == share)
      append(to[mine[i].key[0] % size], KeyedRow{mine[i].key, first + static_cast<std::int64_t>(i), comm.rank()});
  std::vector<KeyedRow> met;
  for (const std::string& part : comm.all_to_all(to))
    for (const KeyedRow& row : unpacked<KeyedRow>(part)) met.push_back(row);
  std::sort(met.begin(), met.end(), [](const KeyedRow& a, const KeyedRow& b) {
    return std::tie(a.key, a.position) < std::tie(b.key, b.position);
  });
  std::vector<std::string> back(size);
  for (std::size_t i = 1; i < met.size(); ++i)
    if (met[i].key == met[i - 1].key) append(back[static_cast<std::size_t>(met[i].from)], met[i].position);
  for (const std::string& part : comm.all_to_all(back))
    for (const std::int64_t position : unpacked<std::int64_t>(part))
      repeated[static_cast<std::size_t>(position - first)] = true;
}

}  // namespace

void sort_rows(std::vector<Row>& mine, const std::function<OrderKey(const Row&)>& order, const Communicator& comm) {
  const auto before = [&](const Row& a, const Row& b) { return order(a) < order(b); };
  std::sort(mine.begin(), mine.end(), before);
  if (comm.size() == 1) return;
  const std::vector<OrderKey> borders = borders_of(mine, order, comm);
  std::vector<std::string> to(static_cast<std::size_t>(comm.size()));
  for (std::size_t rank = 0, first = 0; rank < to.size(); ++rank) {
    const auto last = rank < borders.size()
                          ? static_cast<std::size_t>(std::lower_bound(mine.begin(), mine.end(), borders[rank],
                                                                      [&](const Row& row, const OrderKey& border) {
                                                                        return order(row) < border;
                                                                      }) -
                                                     mine.begin())
                          : mine.size();
    if (last > first) to[rank].assign(reinterpret_cast<const char*>(&mine[first]), (last - first) * sizeof(Row));
    first = std::max(first, last);
  }
  mine = {};
  std::vector<std::string> from = comm.all_to_all(to);
  to = {};
  std::size_t num_bytes = 0;
  for (const std::string& part : from) num_bytes += part.size();
  mine.reserve(num_bytes / sizeof(Row));
  for (std::string& part : from) {
    const std::vector<Row> rows = unpacked<Row>(part);
    mine.insert(mine.end(), rows.begin(), rows.end());
    part = {};
  }
  std::sort(mine.begin(), mine.end(), before);
}

std::vector<bool> repeated_keys(const std::vector<Row>& mine, const Communicator& comm) {
  const std::int64_t first = comm.exclusive_scan(static_cast<std::int64_t>(mine.size()));
  std::vector<bool> repeated(mine.size(), false);
  for (std::uint64_t share = 0; share < kShares; ++share) mark_repeated(mine, first, share, comm, repeated);
  return repeated;
}

}  // namespace rluf
