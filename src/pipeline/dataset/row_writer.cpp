#include "row_writer.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace rluf {
namespace {

constexpr std::int64_t kColumnBytes = std::int64_t{1} << 20;  ///< of the rows of one slice of a column

/// Texts of the rows one after another, from the ranks that parsed them. @shape [elements of the texts] @collective
at::Tensor fetch(const std::vector<Row>& rows, std::size_t which, at::ScalarType type, const ByteSpool& spool,
                 const Communicator& comm) {
  const auto num_ranks = static_cast<std::size_t>(comm.size());
  std::vector<std::vector<Spooled>> ask(num_ranks);
  std::int64_t num_bytes = 0;
  for (const Row& row : rows) {
    ask[static_cast<std::size_t>(row.owners[which])].push_back(row.texts[which]);
    num_bytes += row.texts[which].num_bytes;
  }
  const auto asked = exchanged(ask, comm);
  std::vector<std::string> answer(num_ranks);
  guarded(comm, [&] {
    for (std::size_t rank = 0; rank < num_ranks; ++rank)
      for (const Spooled& text : asked[rank]) {
        const auto count = static_cast<std::size_t>(text.num_bytes);
        answer[rank].resize(answer[rank].size() + count);
        spool.read(text.offset, count, answer[rank].data() + answer[rank].size() - count);
      }
  });
  const std::vector<std::string> answers = comm.all_to_all(answer);
  at::Tensor texts = at::empty({num_bytes / static_cast<std::int64_t>(c10::elementSize(type))}, type);
  std::vector<const char*> next;
  for (const std::string& text : answers) next.push_back(text.data());
  char* to = static_cast<char*>(texts.data_ptr());
  for (const Row& row : rows) {
    const char*& from = next[static_cast<std::size_t>(row.owners[which])];
    to = std::copy_n(from, row.texts[which].num_bytes, to);
    from += row.texts[which].num_bytes;
  }
  return texts;
}

}  // namespace

template <class T>
void write_column(Hdf5File& file, const std::string& name, const Rows& mine, const std::function<T(const Row&)>& value,
                  const Communicator& comm) {
  const auto type = c10::CppTypeToScalarType<T>::value;
  file.create_dataset(name, type, {comm.all_reduce(mine.size())});
  std::int64_t position = comm.exclusive_scan(mine.size());
  for_slices(mine, kColumnBytes, comm, [&](const std::vector<Row>& slice) {
    const at::Tensor values = at::empty({static_cast<std::int64_t>(slice.size())}, type);
    std::transform(slice.begin(), slice.end(), values.data_ptr<T>(), value);
    file.write_rows(name, position, values);
    position += values.size(0);
  });
}
template void write_column<std::int64_t>(Hdf5File&, const std::string&, const Rows&,
                                         const std::function<std::int64_t(const Row&)>&, const Communicator&);
template void write_column<float>(Hdf5File&, const std::string&, const Rows&, const std::function<float(const Row&)>&,
                                  const Communicator&);

void write_texts(Hdf5File& file, const std::string& dataset, const std::string& offsets, at::ScalarType type,
                 const Rows& mine, std::size_t which, const ByteSpool& spool, const Communicator& comm) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(type));
  const auto text_bytes = [&](const Row& row) { return std::int64_t{row.texts[which].num_bytes}; };
  std::int64_t count = 0;  // elements of this rank
  guarded(comm, [&] { mine.for_each([&](const Row& row) { count += text_bytes(row) / element; }); });
  std::int64_t row = comm.exclusive_scan(mine.size()), position = comm.exclusive_scan(count);
  file.create_dataset(offsets, at::kLong, {comm.all_reduce(mine.size()) + 1});
  file.create_dataset(dataset, type, {comm.all_reduce(count)});
  file.write_rows(offsets, 0, at::zeros({comm.rank() == 0 ? 1 : 0}, at::kLong));
  for_slices(
      mine, exchange_bytes(comm), comm,
      [&](const std::vector<Row>& slice) {
        const at::Tensor texts = fetch(slice, which, type, spool, comm);
        file.write_rows(dataset, position, texts);
        const at::Tensor ends = at::empty({static_cast<std::int64_t>(slice.size())}, at::kLong);
        auto* end = ends.data_ptr<std::int64_t>();
        for (const Row& of : slice) *end++ = position += text_bytes(of) / element;
        file.write_rows(offsets, row + 1, ends);
        row += ends.size(0);
      },
      text_bytes);
}

void write_documents(Hdf5File& file, const std::string& group, const Rows& mine, std::size_t which,
                     const ByteSpool& spool, const Communicator& comm) {
  write_texts(file, group + "/tokens", group + "/offsets", at::kInt, mine, which, spool, comm);
  write_column<std::int64_t>(
      file, group + "/response_starts", mine, [&](const Row& row) { return row.texts[which].response_start; }, comm);
}

}  // namespace rluf
