#include "rluf/parallel/communicator.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "communicator_impl.hpp"

namespace rluf {
namespace {

/// Elements of one MPI call: counts are ints, so larger tensors travel in pieces.
constexpr std::int64_t kPieceElements = std::int64_t{1} << 28;

MPI_Op mpi_op(Reduce op) { return op == Reduce::kSum ? MPI_SUM : op == Reduce::kMin ? MPI_MIN : MPI_MAX; }

MPI_Datatype mpi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kInt:
      return MPI_INT32_T;
    case at::kByte:
      return MPI_UINT8_T;
    default:
      throw std::logic_error(concat("no collective for tensors of type ", c10::toString(type)));
  }
}

void reduce_on_host(at::Tensor& tensor, Reduce op, MPI_Comm comm) {
  const MPI_Datatype type = mpi_type(tensor.scalar_type());
  char* data = static_cast<char*>(tensor.data_ptr());
  for (std::int64_t first = 0; first < tensor.numel(); first += kPieceElements) {
    const int count = static_cast<int>(std::min(kPieceElements, tensor.numel() - first));
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, data + first * tensor.element_size(), count, type, mpi_op(op), comm),
              "MPI_Allreduce");
  }
}

}  // namespace

Communicator::Communicator(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Communicator Communicator::world() {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  return Communicator(std::make_shared<Impl>(comm, "world"));
}

Communicator Communicator::self() {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_SELF, &comm), "MPI_Comm_dup");
  return Communicator(std::make_shared<Impl>(comm, "self"));
}

Communicator Communicator::recorded(int rank, int size, std::int64_t group, std::shared_ptr<CollectiveLog> log) {
  RLUF_ASSERT(rank >= 0 && rank < size && log);
  return Communicator(std::make_shared<Impl>(rank, size, group, std::move(log)));
}

Communicator Communicator::split(int color, int key, const char* axis) const {
  if (impl_->log) throw std::logic_error("a recorded communicator cannot be split");
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(impl_->comm, color, key, &comm), "MPI_Comm_split");
  return Communicator(std::make_shared<Impl>(comm, axis));
}

int Communicator::rank() const { return impl_->rank; }
int Communicator::size() const { return impl_->size; }
MPI_Comm Communicator::mpi() const { return impl_->comm; }
void Communicator::barrier() const {
  if (impl_->note("barrier")) return;
  const InCollective here = impl_->enter("barrier");
  check_mpi(MPI_Barrier(impl_->comm), "MPI_Barrier");
}

double Communicator::all_reduce(double value, Reduce op) const {
  if (impl_->note("all_reduce")) return value;
  const InCollective here = impl_->enter("all_reduce");
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, mpi_op(op), impl_->comm), "MPI_Allreduce");
  return value;
}

std::int64_t Communicator::all_reduce(std::int64_t value, Reduce op) const {
  if (impl_->note("all_reduce")) return value;
  const InCollective here = impl_->enter("all_reduce");
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, mpi_op(op), impl_->comm), "MPI_Allreduce");
  return value;
}

template <class T>
void Communicator::reduce_numbers(std::vector<T>& values, Reduce op) const {
  if (size() == 1 || impl_->note("all_reduce")) return;
  const InCollective here = impl_->enter("all_reduce");
  at::Tensor tensor =
      at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, c10::CppTypeToScalarType<T>::value);
  reduce_on_host(tensor, op, impl_->comm);
}

void Communicator::all_reduce(std::vector<double>& values, Reduce op) const { reduce_numbers(values, op); }
void Communicator::all_reduce(std::vector<std::int64_t>& values, Reduce op) const { reduce_numbers(values, op); }

void Communicator::all_reduce(at::Tensor& tensor, Reduce op) const {
  RLUF_ASSERT(tensor.is_contiguous());
  if (size() == 1) return;
  if (impl_->count("all_reduce", static_cast<std::int64_t>(tensor.nbytes()))) return;
  const InCollective here = impl_->enter("all_reduce");
  if (!tensor.device().is_cpu()) return impl_->on_device(*this).all_reduce(tensor, op);
  if (tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf) {
    at::Tensor wide = tensor.to(at::kFloat);
    reduce_on_host(wide, op, impl_->comm);
    tensor.copy_(wide);
    return;
  }
  reduce_on_host(tensor, op, impl_->comm);
}

namespace {
void broadcast_on_host(void* data, std::int64_t num_bytes, int root, MPI_Comm comm) {
  for (std::int64_t first = 0; first < num_bytes; first += kPieceElements) {
    const int count = static_cast<int>(std::min(kPieceElements, num_bytes - first));
    check_mpi(MPI_Bcast(static_cast<char*>(data) + first, count, MPI_BYTE, root, comm), "MPI_Bcast");
  }
}
}  // namespace

void Communicator::broadcast(at::Tensor& tensor, int root) const {
  RLUF_ASSERT(tensor.is_contiguous());
  if (size() == 1 || impl_->count("broadcast", static_cast<std::int64_t>(tensor.nbytes()))) return;
  const InCollective here = impl_->enter("broadcast");
  if (!tensor.device().is_cpu()) {
    impl_->on_device(*this).broadcast(tensor, root);
    return;
  }
  broadcast_on_host(tensor.data_ptr(), static_cast<std::int64_t>(tensor.nbytes()), root, impl_->comm);
}

void Communicator::all_gather_rows(at::Tensor& tensor, const std::vector<Range>& rows) const {
  RLUF_ASSERT(tensor.is_contiguous() && tensor.dim() > 0 && static_cast<int>(rows.size()) == size());
  if (size() == 1 || tensor.numel() == 0) return;
  const std::int64_t row_bytes = static_cast<std::int64_t>(tensor.nbytes()) / tensor.size(0);
  std::int64_t num_rows = 0;
  for (const Range& part : rows) num_rows += part.count();
  if (impl_->count("all_gather", num_rows * row_bytes)) return;
  const InCollective here = impl_->enter("all_gather_rows");
  if (!tensor.device().is_cpu()) return impl_->on_device(*this).start_all_gather_rows(tensor, rows)();
  std::vector<int> counts, firsts;
  for (const Range& part : rows) {
    firsts.push_back(static_cast<int>(part.first));
    counts.push_back(static_cast<int>(part.count()));
  }
  const RowType row(row_bytes);
  check_mpi(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, tensor.data_ptr(), counts.data(), firsts.data(),
                           row.type, impl_->comm),
            "MPI_Allgatherv");
}

const std::map<std::string, Traffic>& Communicator::traffic() const { return impl_->traffic; }

std::string Communicator::broadcast(const std::string& text, int root) const {
  if (impl_->note("broadcast")) return text;
  const InCollective here = impl_->enter("broadcast");
  std::int64_t length = static_cast<std::int64_t>(text.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT64_T, root, impl_->comm), "MPI_Bcast");
  std::string result = rank() == root ? text : std::string(static_cast<std::size_t>(length), '\0');
  broadcast_on_host(result.data(), length, root, impl_->comm);
  return result;
}

namespace {

/// Everyone's elements one after another. A rank's part is bounded by int, the sum by MPI's displacements.
template <class T>
std::vector<T> gather_all(const T* mine, std::size_t count, MPI_Datatype type, MPI_Comm comm, int size,
                          std::vector<int>* counts_out = nullptr) {
  const std::int64_t num_mine = static_cast<std::int64_t>(count);
  std::vector<std::int64_t> wide_counts(static_cast<std::size_t>(size));
  check_mpi(MPI_Allgather(&num_mine, 1, MPI_INT64_T, wide_counts.data(), 1, MPI_INT64_T, comm), "MPI_Allgather");
  std::vector<int> counts, firsts;
  std::int64_t total = 0;
  for (const std::int64_t n : wide_counts) {
    counts.push_back(static_cast<int>(n));
    firsts.push_back(static_cast<int>(total));
    total += n;
  }
  if (total > std::numeric_limits<int>::max()) throw std::logic_error("a gather of more than 2^31 elements: split it");
  std::vector<T> all(static_cast<std::size_t>(total));
  check_mpi(MPI_Allgatherv(mine, static_cast<int>(count), type, all.data(), counts.data(), firsts.data(), type, comm),
            "MPI_Allgatherv");
  if (counts_out != nullptr) *counts_out = counts;
  return all;
}

}  // namespace

std::vector<double> Communicator::all_gather(const std::vector<double>& mine) const {
  if (impl_->note("all_gather")) return mine;
  const InCollective here = impl_->enter("all_gather");
  return gather_all(mine.data(), mine.size(), MPI_DOUBLE, impl_->comm, size());
}

std::vector<std::int64_t> Communicator::all_gather(const std::vector<std::int64_t>& mine) const {
  if (impl_->note("all_gather")) return mine;
  const InCollective here = impl_->enter("all_gather");
  return gather_all(mine.data(), mine.size(), MPI_INT64_T, impl_->comm, size());
}

std::vector<std::string> Communicator::all_gather(const std::string& mine) const {
  if (impl_->note("all_gather")) return std::vector<std::string>(static_cast<std::size_t>(size()), mine);
  const InCollective here = impl_->enter("all_gather");
  std::vector<int> counts;
  const std::vector<char> all = gather_all(mine.data(), mine.size(), MPI_CHAR, impl_->comm, size(), &counts);
  std::vector<std::string> texts;
  std::size_t first = 0;
  for (const int count : counts) {
    texts.emplace_back(all.data() + first, static_cast<std::size_t>(count));
    first += static_cast<std::size_t>(count);
  }
  return texts;
}

std::int64_t Communicator::exclusive_scan(std::int64_t value) const {
  if (impl_->note("exclusive_scan")) return 0;
  const InCollective here = impl_->enter("exclusive_scan");
  std::int64_t before = 0;
  check_mpi(MPI_Exscan(&value, &before, 1, MPI_INT64_T, MPI_SUM, impl_->comm), "MPI_Exscan");
  return rank() == 0 ? 0 : before;
}

std::vector<std::string> Communicator::all_to_all(const std::vector<std::string>& to) const {
  RLUF_ASSERT(static_cast<int>(to.size()) == size());
  if (impl_->note("all_to_all")) return to;
  const InCollective here = impl_->enter("all_to_all");
  std::vector<std::int64_t> sizes_out, sizes_in(to.size());
  for (const std::string& text : to) sizes_out.push_back(static_cast<std::int64_t>(text.size()));
  check_mpi(MPI_Alltoall(sizes_out.data(), 1, MPI_INT64_T, sizes_in.data(), 1, MPI_INT64_T, impl_->comm),
            "MPI_Alltoall");
  std::vector<std::string> from(to.size());
  std::vector<MPI_Request> requests;
  const auto pieces = [](std::size_t bytes, const auto& action) {
    for (std::size_t first = 0; first < bytes; first += static_cast<std::size_t>(kPieceElements))
      action(first, static_cast<int>(std::min(static_cast<std::size_t>(kPieceElements), bytes - first)));
  };
  for (std::size_t r = 0; r < to.size(); ++r) {
    from[r].resize(static_cast<std::size_t>(sizes_in[r]));
    pieces(from[r].size(), [&](std::size_t first, int count) {
      check_mpi(MPI_Irecv(from[r].data() + first, count, MPI_BYTE, static_cast<int>(r), 0, impl_->comm,
                          &requests.emplace_back()),
                "MPI_Irecv");
    });
  }
  for (std::size_t r = 0; r < to.size(); ++r)
    pieces(to[r].size(), [&](std::size_t first, int count) {
      check_mpi(MPI_Isend(to[r].data() + first, count, MPI_BYTE, static_cast<int>(r), 0, impl_->comm,
                          &requests.emplace_back()),
                "MPI_Isend");
    });
  check_mpi(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  return from;
}

}  // namespace rluf
