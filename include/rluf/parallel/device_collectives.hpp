#pragma once
/// Collectives of tensors in device memory, by NCCL. Only Communicator calls this.
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

namespace rluf {

class Communicator;
enum class Reduce;
struct Range;

class DeviceCollectives {
 public:
  /// The NCCL communicator of the same ranks in the same order. @collective
  /// @throws std::logic_error in a build without CUDA, Error if NCCL fails
  static std::unique_ptr<DeviceCollectives> make(const Communicator& comm);
  virtual ~DeviceCollectives() = default;
  virtual void all_reduce(at::Tensor& tensor, Reduce op) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;
  /// These run in a stream of their own, behind what the current stream has been given so far. Tensors must live until
  /// the returned function, which waits, has been called.
  using Wait = std::function<void()>;
  virtual Wait start_all_gather_rows(at::Tensor& tensor, const std::vector<Range>& rows) = 0;
  /// @shape parts [sum of counts] -> mine [counts[rank]]
  virtual Wait start_reduce_scatter(const at::Tensor& parts, const std::vector<std::int64_t>& counts,
                                    at::Tensor& mine) = 0;
};

}  // namespace rluf
