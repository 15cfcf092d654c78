#pragma once
/// The process's hold on MPI, Kokkos and its device. One object lives in main().
#include <ATen/core/Tensor.h>

#include <exception>
#include <string>

namespace rluf {

class Environment {
 public:
  /// MPI_Init_thread (THREAD_MULTIPLE asked for) and this rank's place on its node. @collective over all ranks
  Environment(int& argc, char**& argv);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  /// Kokkos::initialize, threads per rank (0: cores of the node divided by ranks on the node) and the device of this
  /// rank. `device`: cpu; cuda; auto, which is cuda if every rank finds a GPU and the build has CUDA, else cpu. With
  /// cuda a rank takes the GPU of its number on the node; each needs its own. @collective over all ranks
  /// @throws Error(kBadInput) if cuda is asked for and not there, if some ranks have none, or if two would share one
  void configure(std::int64_t threads_per_rank, const std::string& device);
  at::Device device() const { return device_; }
  int rank() const { return rank_; }
  int num_ranks() const { return num_ranks_; }
  /// The end of every error: printed once over all ranks, with the same exit code on all. An error that arose on this
  /// rank alone, outside of a guarded region, ends the other ranks too. @return exit code
  int report(const std::exception_ptr& error) const;
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
  int rank_ = 0, num_ranks_ = 1, threads_ = 1, local_rank_ = 0, ranks_on_node_ = 1;
  bool thread_multiple_ = false;
};

}  // namespace rluf
