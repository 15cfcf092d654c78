#pragma once
/// The process's hold on MPI, Kokkos and its device. One object lives in main().
#include <ATen/core/Tensor.h>

#include <string>

namespace rluf {

class Environment {
 public:
  /// MPI_Init_thread (THREAD_MULTIPLE asked for), Kokkos::initialize, threads per rank, device of this rank
  /// (cuda:local_rank if there is one and the build has CUDA, else cpu). `device`: auto, cpu, cuda.
  /// @collective over all ranks @throws Error(kBadInput) if cuda is asked for and not there
  Environment(int& argc, char**& argv);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  /// Sets threads per rank (0: cores of the node divided by ranks on the node) and picks the device.
  void configure(std::int64_t threads_per_rank, const std::string& device);
  at::Device device() const { return device_; }
  int threads() const { return threads_; }
  int local_rank() const { return local_rank_; }
  int ranks_on_node() const { return ranks_on_node_; }
  bool has_thread_multiple() const { return thread_multiple_; }
  /// Versions of MPI, Kokkos, LibTorch, CUDA, NCCL, one "name version" a line.
  static std::string versions();
  /// Ends all ranks at once. For errors outside of a guarded region.
  [[noreturn]] static void abort(int exit_code);

 private:
  at::Device device_{at::kCPU};
  int threads_ = 1, local_rank_ = 0, ranks_on_node_ = 1;
  bool thread_multiple_ = false;
};

}  // namespace rluf
