#pragma once
/// What a communicator consists of, for the files that implement it.
#include <ATen/core/Tensor.h>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/parallel/device_collectives.hpp"
#include "rluf/parallel/process_grid.hpp"

namespace rluf {

inline void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(ExitCode::kOther,
              concat(call, " failed (the ranks lost contact): ", std::string(text, static_cast<std::size_t>(length))));
}

/// So many bytes as one element, so that counts stay small.
struct RowType {
  MPI_Datatype type = MPI_DATATYPE_NULL;
  explicit RowType(std::int64_t num_bytes) {
    check_mpi(MPI_Type_contiguous(static_cast<int>(num_bytes), MPI_BYTE, &type), "MPI_Type_contiguous");
    check_mpi(MPI_Type_commit(&type), "MPI_Type_commit");
  }
  ~RowType() { MPI_Type_free(&type); }
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
};

struct Communicator::Impl {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0, size = 1;
  std::unique_ptr<DeviceCollectives> device;  ///< made at the first collective of device tensors
  std::map<std::string, Traffic> traffic;
  std::shared_ptr<CollectiveLog> log;  ///< only of a recorded communicator
  std::int64_t group = 0;
  const char* axis = "world";
  std::int64_t number = 0;  ///< of collectives so far

  Impl(MPI_Comm owned, const char* of_axis) : comm(owned), axis(of_axis) {
    check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  }
  Impl(int of_rank, int of_size, std::int64_t of_group, std::shared_ptr<CollectiveLog> to)
      : rank(of_rank), size(of_size), log(std::move(to)), group(of_group) {}
  ~Impl() {
    device.reset();
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized && comm != MPI_COMM_NULL) MPI_Comm_free(&comm);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  /// Counts a collective of tensors. @return whether it is only recorded
  bool count(const char* collective, std::int64_t num_bytes) {
    Traffic& of = traffic[collective];
    ++of.calls;
    of.bytes += num_bytes;
    if (log) log->push_back({group, collective, num_bytes});
    return log != nullptr;
  }
  /// Notes a collective of numbers or text. @return whether it is only recorded
  bool note(const char* collective) {
    if (log) log->push_back({group, collective, 0});
    return log != nullptr;
  }
  InCollective enter(const char* collective) { return InCollective(collective, axis, ++number); }
  DeviceCollectives& on_device(const Communicator& comm_of_this) {
    if (!device) device = DeviceCollectives::make(comm_of_this);
    return *device;
  }
};

}  // namespace rluf
