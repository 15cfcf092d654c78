#include "spool.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {
namespace {

constexpr std::int64_t kSliceBytes = std::int64_t{64} << 20;  ///< of one exchange, all ranks together

[[noreturn]] void fail_spool(const std::string& beside, const char* what) {
  fail_input(concat("cannot ", what, " a temporary file beside ", beside, ": ", std::strerror(errno)),
             "rows that do not fit in memory wait there", "free space there or check its permissions");
}

template <class T>
void write_part(Hdf5File& file, const std::string& name, at::ScalarType type, const std::vector<T>& values,
                const Communicator& comm) {
  file.create_dataset(name, type, {static_cast<std::int64_t>(values.size())});
  if (values.empty()) return;  // an empty split has nothing to write
  const Range part = shard_range(static_cast<std::int64_t>(values.size()), comm.size(), comm.rank());
  at::Tensor local = at::empty({part.count()}, type);
  if (part.count() > 0)
    std::memcpy(local.data_ptr(), values.data() + part.first, static_cast<std::size_t>(part.count()) * sizeof(T));
  file.write_rows(name, part.first, local);
}

}  // namespace

ByteSpool::ByteSpool(const std::string& beside, std::size_t max_memory_bytes)
    : beside_(beside), max_memory_bytes_(max_memory_bytes) {}

ByteSpool::~ByteSpool() {
  if (descriptor_ >= 0) close(descriptor_);
}

std::int64_t ByteSpool::append(const void* bytes, std::size_t count) {
  if (!memory_.empty() && memory_.size() + count > max_memory_bytes_) {
    if (descriptor_ < 0) {
      std::string name = beside_ + ".spool.XXXXXX";
      descriptor_ = mkstemp(name.data());
      if (descriptor_ < 0) fail_spool(beside_, "make");
      unlink(name.c_str());  // without a name it goes away with the process
    }
    for (std::size_t done = 0; done < memory_.size();) {
      const ssize_t wrote =
          pwrite(descriptor_, memory_.data() + done, memory_.size() - done, in_file_ + static_cast<std::int64_t>(done));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) fail_spool(beside_, "write");
      done += static_cast<std::size_t>(wrote);
    }
    in_file_ += static_cast<std::int64_t>(memory_.size());
    memory_.clear();
  }
  const std::int64_t start = size();
  memory_.append(static_cast<const char*>(bytes), count);
  return start;
}

void ByteSpool::read(std::int64_t offset, std::size_t count, char* to) const {
  if (offset >= in_file_) {
    std::memcpy(to, memory_.data() + (offset - in_file_), count);
    return;
  }
  for (std::size_t done = 0; done < count;) {
    const ssize_t got = pread(descriptor_, to + done, count - done, offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_spool(beside_, "read");
    done += static_cast<std::size_t>(got);
  }
}

Spooled spool_document(ByteSpool& spool, const Document& document) {
  const std::size_t bytes = document.tokens.size() * sizeof(std::int32_t);
  return {spool.append(document.tokens.data(), bytes), static_cast<std::int32_t>(bytes),
          static_cast<std::int32_t>(document.response_start)};
}

Spooled spool_text(ByteSpool& spool, const std::string& text) {
  return {spool.append(text.data(), text.size()), static_cast<std::int32_t>(text.size()), 0};
}

std::vector<Row> gather_rows(const std::vector<Row>& mine, const Communicator& comm) {
  static_assert(sizeof(Row) % sizeof(std::int64_t) == 0 && std::is_trivially_copyable_v<Row>);
  std::vector<std::int64_t> words(mine.size() * sizeof(Row) / sizeof(std::int64_t));
  if (!mine.empty()) std::memcpy(words.data(), mine.data(), mine.size() * sizeof(Row));
  const std::vector<std::int64_t> all = comm.all_gather(words);
  std::vector<Row> rows(all.size() * sizeof(std::int64_t) / sizeof(Row));
  if (!rows.empty()) std::memcpy(static_cast<void*>(rows.data()), all.data(), rows.size() * sizeof(Row));
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.line < b.line; });
  return rows;
}

void write_texts(Hdf5File& file, const std::string& dataset, const std::string& offsets_name, at::ScalarType type,
                 const std::vector<const Row*>& rows, std::size_t which, const ByteSpool& spool,
                 const Communicator& comm) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(type));
  std::vector<std::int64_t> offsets{0};  // in elements
  for (const Row* row : rows) offsets.push_back(offsets.back() + row->texts[which].num_bytes / element);
  write_column(file, offsets_name, offsets, comm);
  file.create_dataset(dataset, type, {offsets.back()});
  const auto num_ranks = static_cast<std::size_t>(comm.size());
  const auto me = static_cast<std::int32_t>(comm.rank());
  for (std::size_t first = 0; first < rows.size();) {
    std::size_t last = first + 1;
    while (last < rows.size() && (offsets[last + 1] - offsets[first]) * element <= kSliceBytes) ++last;
    // Each rank sends what it parsed to the rank that writes it, in the order of the output.
    std::vector<std::string> to(num_ranks);
    Range mine;
    guarded(comm, [&] {
      for (std::size_t writer = 0; writer < num_ranks; ++writer) {
        const Range part = shard_range(static_cast<std::int64_t>(last - first), comm.size(), static_cast<int>(writer));
        for (std::int64_t i = part.first; i < part.last; ++i) {
          const Row& row = *rows[first + static_cast<std::size_t>(i)];
          if (row.owner != me) continue;
          const auto count = static_cast<std::size_t>(row.texts[which].num_bytes);
          std::string& bytes = to[writer];
          bytes.resize(bytes.size() + count);
          spool.read(row.texts[which].offset, count, bytes.data() + bytes.size() - count);
        }
        if (static_cast<std::int32_t>(writer) == me) mine = part;
      }
    });
    const std::vector<std::string> from = comm.all_to_all(to);
    const std::size_t begin = first + static_cast<std::size_t>(mine.first);
    const std::size_t end = first + static_cast<std::size_t>(mine.last);
    at::Tensor local = at::empty({offsets[end] - offsets[begin]}, type);
    char* out = static_cast<char*>(local.data_ptr());
    std::vector<std::size_t> used(num_ranks, 0);
    for (std::size_t i = begin; i < end; ++i) {
      const auto count = static_cast<std::size_t>(rows[i]->texts[which].num_bytes);
      const auto owner = static_cast<std::size_t>(rows[i]->owner);
      std::memcpy(out, from[owner].data() + used[owner], count);
      used[owner] += count;
      out += count;
    }
    file.write_rows(dataset, offsets[begin], local);
    set_progress_mark("dataset", static_cast<long>(last));
    first = last;
  }
}

void write_documents(Hdf5File& file, const std::string& group, const std::vector<const Row*>& rows, std::size_t which,
                     const ByteSpool& spool, const Communicator& comm) {
  write_texts(file, group + "/tokens", group + "/offsets", at::kInt, rows, which, spool, comm);
  std::vector<std::int64_t> starts;
  for (const Row* row : rows) starts.push_back(row->texts[which].response_start);
  write_column(file, group + "/response_starts", starts, comm);
}

void write_column(Hdf5File& file, const std::string& name, const std::vector<std::int64_t>& values,
                  const Communicator& comm) {
  write_part(file, name, at::kLong, values, comm);
}
void write_column(Hdf5File& file, const std::string& name, const std::vector<float>& values, const Communicator& comm) {
  write_part(file, name, at::kFloat, values, comm);
}
void write_column(Hdf5File& file, const std::string& name, const std::vector<double>& values,
                  const Communicator& comm) {
  write_part(file, name, at::kDouble, values, comm);
}

}  // namespace rluf
