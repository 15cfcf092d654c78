#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "communicator_impl.hpp"

namespace rluf {
namespace {

/// A nonblocking MPI call with what it reads until it is done: counts in units that divide all of them, so that they
/// stay small.
struct HostCall {
  std::int64_t unit = 0;
  std::vector<int> counts, firsts;
  MPI_Request request = MPI_REQUEST_NULL;

  explicit HostCall(const std::vector<std::int64_t>& of) {
    for (const std::int64_t count : of) unit = std::gcd(unit, count);
    unit = std::max<std::int64_t>(1, std::gcd(unit, std::int64_t{1} << 20));
    std::int64_t first = 0;
    for (const std::int64_t count : of) {
      counts.push_back(static_cast<int>(count / unit));
      firsts.push_back(static_cast<int>(first));
      first += count / unit;
    }
    if (first > std::numeric_limits<int>::max()) throw std::logic_error("a collective of 2^31 elements: split it");
  }
};

/// The sum of the rows, one after the other; small types in float32, rounded once.
at::Tensor sum_of_rows(const at::Tensor& rows) {
  at::Tensor sum = rows.element_size() < 4 ? rows[0].to(at::kFloat) : rows[0].clone();
  for (std::int64_t r = 1; r < rows.size(0); ++r) sum.add_(rows[r]);
  return sum.to(rows.scalar_type());
}

}  // namespace

struct PendingCollective::Impl {
  at::Tensor from, to;          ///< must stand until it is done
  bool sums_rows = false;       ///< of `to`, at the end
  std::function<void()> block;  ///< returns when it is done; empty: it is
  const char* collective = "";
  const char* axis = "";
  std::int64_t number = 0;
};

PendingCollective::PendingCollective() = default;
PendingCollective::PendingCollective(PendingCollective&&) noexcept = default;
PendingCollective& PendingCollective::operator=(PendingCollective&& other) noexcept {
  std::swap(impl_, other.impl_);
  return *this;
}
PendingCollective::~PendingCollective() {
  if (impl_ && impl_->block) static_cast<void>(impl_.release());  // MPI or NCCL may still write there
}

at::Tensor PendingCollective::wait() {
  RLUF_ASSERT(impl_);
  if (impl_->block) {
    const InCollective here(impl_->collective, impl_->axis, impl_->number);
    impl_->block();
    impl_->block = nullptr;
  }
  const at::Tensor result = impl_->sums_rows ? sum_of_rows(impl_->to) : impl_->to;
  impl_.reset();
  return result;
}

PendingCollective Communicator::pending(const char* collective, const at::Tensor& from, const at::Tensor& to) const {
  PendingCollective pending;
  pending.impl_ = std::make_unique<PendingCollective::Impl>();
  pending.impl_->from = from;
  pending.impl_->to = to;
  pending.impl_->collective = collective;
  pending.impl_->axis = impl_->axis;
  pending.impl_->number = impl_->number + 1;
  return pending;
}

PendingCollective Communicator::start_all_gather(const at::Tensor& mine,
                                                 const std::vector<std::int64_t>& counts) const {
  RLUF_ASSERT(static_cast<int>(counts.size()) == size());
  std::vector<Range> parts;
  for (std::int64_t first = 0; const std::int64_t count : counts) {
    parts.push_back({first, first + count});
    first += count;
  }
  at::Tensor all = at::empty({parts.back().last}, mine.options());
  const Range& own = parts[static_cast<std::size_t>(rank())];
  all.narrow(0, own.first, own.count()).copy_(mine);
  PendingCollective gather = pending("all_gather", all, all);
  if (size() == 1 || all.numel() == 0) return gather;
  if (impl_->count("all_gather", static_cast<std::int64_t>(all.nbytes()))) return gather;
  const InCollective here = impl_->enter("all_gather");
  if (!all.device().is_cpu()) {
    gather.impl_->block = impl_->on_device(*this).start_all_gather_rows(all, parts);
    return gather;
  }
  const auto call = std::make_shared<HostCall>(counts);
  const RowType element(call->unit * all.element_size());
  check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all.data_ptr(), call->counts.data(),
                            call->firsts.data(), element.type, impl_->comm, &call->request),
            "MPI_Iallgatherv");
  gather.impl_->block = [call] { check_mpi(MPI_Wait(&call->request, MPI_STATUS_IGNORE), "MPI_Iallgatherv"); };
  return gather;
}

PendingCollective Communicator::start_reduce_scatter(const at::Tensor& parts,
                                                     const std::vector<std::int64_t>& counts) const {
  RLUF_ASSERT(parts.is_contiguous() && static_cast<int>(counts.size()) == size());
  if (size() == 1) return pending("reduce_scatter", parts, parts);
  const std::int64_t count = counts[static_cast<std::size_t>(rank())];
  at::Tensor mine = at::empty({count}, parts.options());
  PendingCollective reduction = pending("reduce_scatter", parts, mine);
  if (impl_->count("reduce_scatter", static_cast<std::int64_t>(parts.nbytes()))) return reduction;
  const InCollective here = impl_->enter("reduce_scatter");
  if (!parts.device().is_cpu()) {
    reduction.impl_->block = impl_->on_device(*this).start_reduce_scatter(parts, counts, mine);
    return reduction;
  }
  // Everyone's terms of this rank's part, to be added in the order of the ranks: the same bits in every library, and no
  // more bytes than a ring moves.
  reduction.impl_->to = at::empty({size(), count}, parts.options());
  reduction.impl_->sums_rows = true;
  const auto call = std::make_shared<HostCall>(counts),
             back = std::make_shared<HostCall>(std::vector<std::int64_t>(counts.size(), count));
  const RowType element(call->unit * parts.element_size()), element_back(back->unit * parts.element_size());
  check_mpi(MPI_Ialltoallv(parts.const_data_ptr(), call->counts.data(), call->firsts.data(), element.type,
                           reduction.impl_->to.data_ptr(), back->counts.data(), back->firsts.data(), element_back.type,
                           impl_->comm, &call->request),
            "MPI_Ialltoallv");
  reduction.impl_->block = [call, back] { check_mpi(MPI_Wait(&call->request, MPI_STATUS_IGNORE), "MPI_Ialltoallv"); };
  return reduction;
}

at::Tensor Communicator::all_gather(const at::Tensor& mine, const std::vector<std::int64_t>& counts) const {
  return start_all_gather(mine, counts).wait();
}

at::Tensor Communicator::reduce_scatter(const at::Tensor& parts, const std::vector<std::int64_t>& counts) const {
  return start_reduce_scatter(parts, counts).wait();
}

}  // namespace rluf
