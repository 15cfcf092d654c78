#include "row_writer.hpp"

#include <ATen/ATen.h>

#include <cstring>

#include "rluf/core/log.hpp"

namespace rluf {
namespace {

constexpr std::int64_t kSliceBytes = std::int64_t{64} << 20;  ///< of one exchange, all ranks together

template <class T>
void write_part(Hdf5File& file, const std::string& name, at::ScalarType type, const std::vector<T>& mine,
                const Communicator& comm) {
  const auto count = static_cast<std::int64_t>(mine.size());
  const std::int64_t total = comm.all_reduce(count), first = comm.exclusive_scan(count);
  file.create_dataset(name, type, {total});
  if (total == 0) return;  // an empty split has nothing to write
  at::Tensor local = at::empty({count}, type);
  if (count > 0) std::memcpy(local.data_ptr(), mine.data(), mine.size() * sizeof(T));
  file.write_rows(name, first, local);
}

/// Bytes of the texts of rows [begin, end), in their order, from the ranks that parsed them. @collective
std::string fetch(const std::vector<const Row*>& mine, std::size_t begin, std::size_t end, std::size_t which,
                  const ByteSpool& spool, const Communicator& comm) {
  struct Wanted {
    std::int64_t offset, num_bytes;
  };
  const auto num_ranks = static_cast<std::size_t>(comm.size());
  std::vector<std::string> ask(num_ranks), answer(num_ranks);
  for (std::size_t i = begin; i < end; ++i) {
    const Wanted wanted{mine[i]->texts[which].offset, mine[i]->texts[which].num_bytes};
    ask[static_cast<std::size_t>(mine[i]->owner)].append(reinterpret_cast<const char*>(&wanted), sizeof wanted);
  }
  const std::vector<std::string> asked = comm.all_to_all(ask);
  guarded(comm, [&] {
    for (std::size_t rank = 0; rank < num_ranks; ++rank)
      for (std::size_t at = 0; at < asked[rank].size(); at += sizeof(Wanted)) {
        Wanted wanted{};
        std::memcpy(&wanted, asked[rank].data() + at, sizeof wanted);
        const auto count = static_cast<std::size_t>(wanted.num_bytes);
        answer[rank].resize(answer[rank].size() + count);
        spool.read(wanted.offset, count, answer[rank].data() + answer[rank].size() - count);
      }
  });
  const std::vector<std::string> answers = comm.all_to_all(answer);
  std::vector<std::size_t> used(num_ranks, 0);
  std::string bytes;
  for (std::size_t i = begin; i < end; ++i) {
    const auto owner = static_cast<std::size_t>(mine[i]->owner);
    const auto count = static_cast<std::size_t>(mine[i]->texts[which].num_bytes);
    bytes.append(answers[owner], used[owner], count);
    used[owner] += count;
  }
  return bytes;
}

}  // namespace

void write_texts(Hdf5File& file, const std::string& dataset, const std::string& offsets_name, at::ScalarType type,
                 const std::vector<const Row*>& mine, std::size_t which, const ByteSpool& spool,
                 const Communicator& comm) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(type));
  std::int64_t count = 0;  // elements of this rank
  for (const Row* row : mine) count += row->texts[which].num_bytes / element;
  const std::int64_t total = comm.all_reduce(count);
  std::int64_t position = comm.exclusive_scan(count);
  std::vector<std::int64_t> offsets;  // where each row begins, and at the very end the total
  std::int64_t next = position;
  for (const Row* row : mine) {
    offsets.push_back(next);
    next += row->texts[which].num_bytes / element;
  }
  if (comm.rank() == comm.size() - 1) offsets.push_back(total);
  write_column(file, offsets_name, offsets, comm);
  file.create_dataset(dataset, type, {total});
  const std::int64_t budget = kSliceBytes / comm.size();
  for (std::size_t begin = 0; comm.all_reduce(std::int64_t{begin < mine.size()}, Reduce::kMax) == 1;) {
    std::size_t end = begin;
    for (std::int64_t bytes = 0; end < mine.size(); ++end) {
      bytes += mine[end]->texts[which].num_bytes;
      if (end > begin && bytes > budget) break;
    }
    const std::string bytes = fetch(mine, begin, end, which, spool, comm);
    at::Tensor local = at::empty({static_cast<std::int64_t>(bytes.size()) / element}, type);
    if (!bytes.empty()) std::memcpy(local.data_ptr(), bytes.data(), bytes.size());
    file.write_rows(dataset, position, local);
    position += local.size(0);
    begin = end;
    set_progress_mark("dataset", static_cast<long>(end));
  }
}

void write_documents(Hdf5File& file, const std::string& group, const std::vector<const Row*>& mine, std::size_t which,
                     const ByteSpool& spool, const Communicator& comm) {
  write_texts(file, group + "/tokens", group + "/offsets", at::kInt, mine, which, spool, comm);
  std::vector<std::int64_t> starts;
  for (const Row* row : mine) starts.push_back(row->texts[which].response_start);
  write_column(file, group + "/response_starts", starts, comm);
}

void write_column(Hdf5File& file, const std::string& name, const std::vector<std::int64_t>& mine,
                  const Communicator& comm) {
  write_part(file, name, at::kLong, mine, comm);
}
void write_column(Hdf5File& file, const std::string& name, const std::vector<float>& mine, const Communicator& comm) {
  write_part(file, name, at::kFloat, mine, comm);
}
void write_column(Hdf5File& file, const std::string& name, const std::vector<double>& mine, const Communicator& comm) {
  write_part(file, name, at::kDouble, mine, comm);
}

}  // namespace rluf
