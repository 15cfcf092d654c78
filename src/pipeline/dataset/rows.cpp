#include "rows.hpp"

#include <algorithm>

#include "rluf/core/log.hpp"

namespace rluf {
namespace {

constexpr std::int64_t kRowBytes = sizeof(Row), kSliceRows = 4096;

}  // namespace

std::int64_t Rows::size() const { return bytes_->size() / kRowBytes; }

void Rows::append(const Row& row) { bytes_->append(&row, sizeof row); }

std::vector<Row> Rows::slice(std::int64_t first, std::int64_t last) const {
  std::vector<Row> rows(static_cast<std::size_t>(std::max<std::int64_t>(0, std::min(last, size()) - first)));
  if (!rows.empty()) bytes_->read(first * kRowBytes, rows.size() * sizeof(Row), reinterpret_cast<char*>(rows.data()));
  return rows;
}

void Rows::for_each(const std::function<void(const Row&)>& action) const {
  for (std::int64_t first = 0; first < size(); first += kSliceRows)
    for (const Row& row : slice(first, first + kSliceRows)) action(row);
}

void for_slices(const Rows& rows, std::int64_t max_bytes, const Communicator& comm,
                const std::function<void(const std::vector<Row>&)>& action,
                const std::function<std::int64_t(const Row&)>& text_bytes) {
  guarded(comm, [&] {
    for (std::int64_t first = 0;;) {
      std::vector<Row> slice;
      guarded(comm, [&] {  // reading, and the action of the slice before
        slice = rows.slice(first, first + std::max<std::int64_t>(1, max_bytes / kRowBytes));
        std::size_t count = 0;
        for (std::int64_t bytes = 0; count < slice.size(); ++count) {
          bytes += kRowBytes + text_bytes(slice[count]);
          if (count > 0 && bytes > max_bytes) break;
        }
        slice.resize(count);
      });
      first += static_cast<std::int64_t>(slice.size());
      if (comm.all_reduce(static_cast<std::int64_t>(slice.size()), Reduce::kMax) == 0) return;
      set_progress_mark("dataset", static_cast<long>(first));
      action(slice);
    }
  });
}

}  // namespace rluf
