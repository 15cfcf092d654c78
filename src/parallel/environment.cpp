#include "rluf/parallel/environment.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <malloc.h>
#include <mpi.h>
#include <torch/version.h>
#include <unistd.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#ifdef RLUF_CUDA
#include <cuda_runtime.h>
#include <nccl.h>
#endif

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/parallel/watchdog.hpp"

namespace rluf {
namespace {

/// Even a job of thousands of ranks has found itself by then; a rank that is missing would be waited for without end.
constexpr double kStartSeconds = 900;

/// GPUs that this process sees and, if there are none, why.
struct Devices {
  int count = 0;
  std::string reason = "this build has no CUDA";
};

#ifdef RLUF_CUDA
Devices find_devices() {
  Devices devices;
  const cudaError_t result = cudaGetDeviceCount(&devices.count);
  if (result != cudaSuccess) devices.count = 0;
  devices.reason = result == cudaSuccess ? "none is visible" : cudaGetErrorString(result);
  cudaGetLastError();  // CUDA remembers the failure, which would surface in a later, innocent call
  return devices;
}

/// The same text for the same GPU, whatever number each process gives it.
std::string device_identity(int device) {
  cudaDeviceProp properties{};
  if (const cudaError_t result = cudaGetDeviceProperties(&properties, device); result != cudaSuccess)
    throw Error(ExitCode::kOther, concat("GPU ", device, " does not answer: ", cudaGetErrorString(result)));
  return std::string(properties.uuid.bytes, sizeof properties.uuid.bytes);
}

/// NCCL gives each rank a GPU of its own. Where the batch system shows each rank just one, all of them are number 0.
/// @collective
void check_devices_differ(const Communicator& world, int device, int ranks_on_node) {
  std::string mine;
  guarded(world, [&] { mine = device_identity(device); });
  std::map<std::string, std::size_t> owners;
  const std::vector<std::string> all = world.all_gather(mine);
  for (std::size_t rank = 0; rank < all.size(); ++rank)
    if (const auto [owner, is_new] = owners.emplace(all[rank], rank); !is_new)
      fail_input(concat("ranks ", owner->second, " and ", rank, " would share one GPU (", ranks_on_node,
                        " ranks on the node of this rank)"),
                 "NCCL connects GPUs, one a rank", "start one rank a GPU, or set run.device = cpu");
}
#else
Devices find_devices() { return {}; }
#endif

/// Cores that this process may use, by the batch system's or mpirun's binding.
int num_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

void initialize_kokkos(int threads) {
#if KOKKOS_VERSION >= 30700
  Kokkos::initialize(Kokkos::InitializationSettings().set_num_threads(threads));
#else
  Kokkos::initialize(Kokkos::InitArguments(threads));
#endif
}

}  // namespace

Environment::Environment(int& argc, char**& argv) {
  // Every step makes and drops the same tensors: memory that went back to the system each time would be zeroed anew, a
  // quarter of the time of a training step. Only the largest are mapped, so that the heap is not torn to pieces.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  // oneDNN, which computes in bfloat16 on a CPU, keeps a kernel for each shape that it met, over a megabyte a piece.
  // Few shapes are met again after a step, whose own are some twenty; by itself it would keep 1024.
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", 0);
  int provided = 0;
  set_progress_mark("start", 0);
  const Watchdog starting(kStartSeconds);  // options, which may set another limit, come later
  const InCollective here("MPI_Init");
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
  setenv("OMP_PROC_BIND", "false", 0);  // the launcher binds; Kokkos warns of nothing else
  if (!Kokkos::is_initialized()) initialize_kokkos(threads_);
  if (device == "cpu") return;
  const Devices devices = find_devices();
  const Communicator world = Communicator::world();
  const std::int64_t fewest = world.all_reduce(std::int64_t{devices.count}, Reduce::kMin);
  if (fewest == 0 && (device == "cuda" || world.all_reduce(std::int64_t{devices.count}, Reduce::kMax) > 0))
    fail_input(device == "cuda" ? concat("run.device = cuda, but no GPU was found: ", devices.reason)
                                : "some ranks have a GPU and some have none",
               "the run would be a hundred times slower than planned",
               "start it on nodes with GPUs and a build with -DRLUF_CUDA=ON, or set run.device = cpu");
  if (fewest == 0) return;
#ifdef RLUF_CUDA
  const int number = local_rank_ % devices.count;
  check_devices_differ(world, number, ranks_on_node_);
  cudaSetDevice(number);
  device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(number));
#endif
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
  int cuda = 0, nccl = 0;
  cudaRuntimeGetVersion(&cuda);
  ncclGetVersion(&nccl);
  const Devices devices = find_devices();
  text += concat(
      "CUDA      ", cuda / 1000, ".", cuda / 10 % 100, " (",
      devices.count > 0 ? concat(devices.count, devices.count > 1 ? " GPUs" : " GPU") : "no GPU: " + devices.reason,
      ")\nNCCL      ", nccl / 10000, ".", nccl / 100 % 100, ".", nccl % 100, "\n");
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
  int started = 0;
  MPI_Initialized(&started);
  if (started) MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace rluf
