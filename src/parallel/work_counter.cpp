#include "rluf/parallel/work_counter.hpp"

#include "rluf/core/log.hpp"

namespace rluf {
namespace {

constexpr int kOwner = 0;
constexpr std::int64_t kClosed = std::int64_t{1} << 48;  ///< added to the count by close()

void check_mpi(int code, const char* call) {
  if (code != MPI_SUCCESS) throw Error(ExitCode::kOther, concat(call, " failed (the ranks lost contact)"));
}

}  // namespace

struct WorkCounter::Impl {
  MPI_Win window = MPI_WIN_NULL;
  std::int64_t alone = 0;  ///< the count of a group of one, which needs no window

  explicit Impl(const Communicator& comm) {
    if (comm.size() == 1) return;
    const InCollective here("work counter");
    std::int64_t* count = nullptr;
    const MPI_Aint bytes = comm.rank() == kOwner ? sizeof *count : 0;
    check_mpi(MPI_Win_allocate(bytes, sizeof *count, MPI_INFO_NULL, comm.mpi(), &count, &window), "MPI_Win_allocate");
    check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window), "MPI_Win_lock_all");
    if (comm.rank() == kOwner) {
      *count = 0;
      check_mpi(MPI_Win_sync(window), "MPI_Win_sync");
    }
    comm.barrier();
  }

  /// @return the count before
  std::int64_t add(std::int64_t amount) {
    if (window == MPI_WIN_NULL) {
      alone += amount;
      return alone - amount;
    }
    std::int64_t before = 0;
    check_mpi(MPI_Fetch_and_op(&amount, &before, MPI_INT64_T, kOwner, 0, MPI_SUM, window), "MPI_Fetch_and_op");
    check_mpi(MPI_Win_flush(kOwner, window), "MPI_Win_flush");
    return before;
  }

  ~Impl() {
    if (window == MPI_WIN_NULL) return;
    const InCollective here("work counter");
    MPI_Win_unlock_all(window);
    MPI_Win_free(&window);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

WorkCounter::WorkCounter(const Communicator& comm) : impl_(std::make_unique<Impl>(comm)) {}
WorkCounter::~WorkCounter() = default;

std::int64_t WorkCounter::next() { return impl_->add(1); }
void WorkCounter::close() { impl_->add(kClosed); }
bool WorkCounter::is_closed() { return impl_->add(0) >= kClosed; }
std::int64_t WorkCounter::num_handed_out() { return impl_->add(0) % kClosed; }

}  // namespace rluf
