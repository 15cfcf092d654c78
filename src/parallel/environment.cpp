#include "rluf/parallel/environment.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <mpi.h>
#include <torch/version.h>
#include <unistd.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#ifdef RLUF_CUDA
#include <cuda_runtime.h>
#include <nccl.h>
#endif

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/communicator.hpp"

namespace rluf {
namespace {

int num_devices() {
#ifdef RLUF_CUDA
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
#else
  return 0;
#endif
}

/// Cores that this process may use, by the batch system's or mpirun's binding.
int num_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

Environment::Environment(int& argc, char**& argv) {
  int provided = 0;
  if (MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS)
    fail_input("MPI could not be started", "ranks cannot find each other",
               "check the MPI installation and the launcher");
  thread_multiple_ = provided == MPI_THREAD_MULTIPLE;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &num_ranks_);
  set_log_rank(rank_, num_ranks_);
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &local_rank_);
  MPI_Comm_size(node, &ranks_on_node_);
  MPI_Comm_free(&node);
}

void Environment::configure(std::int64_t threads_per_rank, const std::string& device) {
  const char* omp = std::getenv("OMP_NUM_THREADS");
  threads_ = threads_per_rank > 0 ? static_cast<int>(threads_per_rank)
             : omp != nullptr     ? std::max(1, std::atoi(omp))
                                  : std::max(1, num_cores() / ranks_on_node_);
  at::set_num_threads(threads_);
  if (!Kokkos::is_initialized()) Kokkos::initialize(Kokkos::InitArguments(threads_));
  const int devices = num_devices();
  if (device == "cuda" && devices == 0)
    fail_input("run.device = cuda, but no GPU was found", "the run would be a hundred times slower than planned",
               "start it on a node with GPUs and a build with -DRLUF_CUDA=ON, or set run.device = cpu");
  if (device != "cpu" && devices > 0) {
    if (ranks_on_node_ > devices && local_rank_ == 0)
      log_warning(concat(ranks_on_node_, " ranks share ", devices, " GPUs of this node: one rank a GPU is faster"));
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(local_rank_ % devices));
#ifdef RLUF_CUDA
    cudaSetDevice(local_rank_ % devices);
#endif
  }
}

Environment::~Environment() {
  if (Kokkos::is_initialized()) Kokkos::finalize();
  MPI_Finalize();
}

std::string Environment::versions() {
  char library[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(library, &length);
  std::string mpi(library, static_cast<std::size_t>(length));
  mpi = mpi.substr(0, mpi.find_first_of(",\n"));
  std::string text = concat("MPI       ", mpi, "\nKokkos    ", KOKKOS_VERSION / 10000, ".", KOKKOS_VERSION / 100 % 100,
                            ".", KOKKOS_VERSION % 100, " (", Kokkos::DefaultHostExecutionSpace::name(), ")\nLibTorch  ",
                            TORCH_VERSION, "\n");
#ifdef RLUF_CUDA
  text += concat("CUDA      ", CUDART_VERSION / 1000, ".", CUDART_VERSION / 10 % 100, "\nNCCL      ", NCCL_MAJOR, ".",
                 NCCL_MINOR, ".", NCCL_PATCH, "\n");
#else
  text += "CUDA      none (built without)\nNCCL      none (built without)\n";
#endif
  return text;
}

namespace {

/// True if every rank comes here within `seconds`.
bool all_ranks_come(double seconds) {
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  int done = 0;
  for (const double start = now_seconds(); now_seconds() - start < seconds;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace

int Environment::report(const std::exception_ptr& error) const {
  const auto [code, message] = describe_error(error);
  bool common = true, speaks = rank_ == 0;
  try {
    std::rethrow_exception(error);
  } catch (const SharedError& shared) {
    speaks = shared.is_origin();
  } catch (...) {
    common = all_ranks_come(3.0);
    speaks = speaks || !common;
  }
  if (speaks && code == ExitCode::kStopped) {
    log_info(message);
  } else if (speaks) {
    log_error(message);
  }
  if (!common) abort(static_cast<int>(code));
  return static_cast<int>(code);
}

void Environment::abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace rluf
