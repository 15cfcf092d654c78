#pragma once
/// Collectives of tensors in device memory, by NCCL. Only Communicator calls this.
#include <ATen/core/Tensor.h>

#include <memory>

namespace rluf {

class Communicator;
enum class Reduce;

class DeviceCollectives {
 public:
  /// The NCCL communicator of the same ranks in the same order. @collective
  /// @throws std::logic_error in a build without CUDA, Error if NCCL fails
  static std::unique_ptr<DeviceCollectives> make(const Communicator& comm);
  virtual ~DeviceCollectives() = default;
  virtual void all_reduce(at::Tensor& tensor, Reduce op) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;
  virtual void all_gather_rows(at::Tensor& tensor, int num_ranks) = 0;
};

}  // namespace rluf
