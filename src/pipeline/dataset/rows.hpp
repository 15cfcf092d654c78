#pragma once
/// Lists of rows that need not fit in memory, and how all ranks go through them together.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rluf/parallel/communicator.hpp"
#include "spool.hpp"

namespace rluf {

/// This rank's rows in some order: written at the end, read in slices. They wait in a ByteSpool.
class Rows {
 public:
  /// The file, if it is needed, is made in the folder of `beside`.
  explicit Rows(const std::string& beside) : beside_(beside), bytes_(std::make_unique<ByteSpool>(beside)) {}
  std::int64_t size() const;
  const std::string& beside() const { return beside_; }
  /// @throws Error if the folder is full or not writable
  void append(const Row& row);
  Row at(std::int64_t i) const { return slice(i, i + 1).at(0); }
  /// Rows [first, last), or fewer at the end. @throws Error if the file cannot be read
  std::vector<Row> slice(std::int64_t first, std::int64_t last) const;
  void for_each(const std::function<void(const Row&)>& action) const;

 private:
  std::string beside_;
  std::unique_ptr<ByteSpool> bytes_;
};

/// Calls `action` with slice after slice of this rank's rows until those of all ranks have ended; then a rank has empty
/// slices. A slice has one row or up to `max_bytes` of rows with what `text_bytes` says of each. `action` may call
/// collectives, but not after it threw on one rank alone. @collective
void for_slices(
    const Rows& rows, std::int64_t max_bytes, const Communicator& comm,
    const std::function<void(const std::vector<Row>&)>& action,
    const std::function<std::int64_t(const Row&)>& text_bytes = [](const Row&) { return 0; });

/// What a rank may send in one exchange: if all send to one, that one gets 2 MiB; 64 KiB a rank where they are many.
inline std::int64_t exchange_bytes(const Communicator& comm) {
  return std::max((std::int64_t{2} << 20) / comm.size(), std::int64_t{64} << 10);
}

/// Sends the items of to[r] to rank r, returns what each rank sent here. @collective
template <class T>
std::vector<std::vector<T>> exchanged(const std::vector<std::vector<T>>& to, const Communicator& comm) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<std::string> bytes;
  for (const std::vector<T>& items : to)
    bytes.emplace_back(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
  std::vector<std::vector<T>> from;
  for (const std::string& part : comm.all_to_all(bytes))
    part.copy(reinterpret_cast<char*>(from.emplace_back(part.size() / sizeof(T)).data()), part.size());
  return from;
}

}  // namespace rluf
