#include "rluf/parallel/device_collectives.hpp"

#include <ATen/ATen.h>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/parallel/process_grid.hpp"

#ifdef RLUF_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#endif

namespace rluf {

#ifdef RLUF_CUDA
namespace {

ncclDataType_t nccl_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kHalf:
      return ncclFloat16;
    case at::kLong:
      return ncclInt64;
    case at::kInt:
      return ncclInt32;
    case at::kByte:
      return ncclUint8;
    default:
      throw std::logic_error(concat("no collective for device tensors of type ", c10::toString(type)));
  }
}

class NcclCollectives : public DeviceCollectives {
 public:
  explicit NcclCollectives(const Communicator& comm) {
    ncclUniqueId id{};
    std::string text;
    guarded(comm, [&] {
      if (comm.rank() != 0) return;
      check(ncclGetUniqueId(&id), "ncclGetUniqueId");
      text.assign(id.internal, sizeof id.internal);
    });
    text = comm.broadcast(text, 0);
    RLUF_ASSERT(text.size() == sizeof id.internal);
    std::memcpy(id.internal, text.data(), sizeof id.internal);
    guarded(comm, [&] { check(ncclCommInitRank(&comm_, comm.size(), id, comm.rank()), "ncclCommInitRank"); });
  }
  ~NcclCollectives() override {
    if (comm_ != nullptr) ncclCommDestroy(comm_);
  }

  void all_reduce(at::Tensor& tensor, Reduce op) override {
    const ncclRedOp_t operation = op == Reduce::kSum ? ncclSum : op == Reduce::kMin ? ncclMin : ncclMax;
    const ncclDataType_t type = nccl_type(tensor.scalar_type());
    start(tensor, "ncclAllReduce", [&](void* data, std::size_t count, cudaStream_t stream) {
      return ncclAllReduce(data, data, count, type, operation, comm_, stream);
    })();
  }
  void broadcast(at::Tensor& tensor, int root) override {
    start(tensor, "ncclBroadcast", [&](void* data, std::size_t, cudaStream_t stream) {
      return ncclBroadcast(data, data, tensor.nbytes(), ncclUint8, root, comm_, stream);
    })();
  }
  Wait start_all_gather_rows(at::Tensor& tensor, const std::vector<Range>& rows) override {
    const auto row_bytes = static_cast<std::int64_t>(tensor.nbytes()) / tensor.size(0);
    return start(tensor, "ncclBroadcast", [&](void* data, std::size_t, cudaStream_t stream) {
      return in_group(rows.size(), [&](std::size_t r) {
        char* const part = static_cast<char*>(data) + rows[r].first * row_bytes;
        return ncclBroadcast(part, part, static_cast<std::size_t>(rows[r].count() * row_bytes), ncclUint8,
                             static_cast<int>(r), comm_, stream);
      });
    });
  }
  Wait start_reduce_scatter(const at::Tensor& parts, const std::vector<std::int64_t>& counts,
                            at::Tensor& mine) override {
    const ncclDataType_t type = nccl_type(parts.scalar_type());
    const bool equal = std::all_of(counts.begin(), counts.end(), [&](std::int64_t n) { return n == counts[0]; });
    return start(parts, "ncclReduceScatter", [&](void* data, std::size_t, cudaStream_t stream) {
      if (equal)
        return ncclReduceScatter(data, mine.data_ptr(), static_cast<std::size_t>(counts[0]), type, ncclSum, comm_,
                                 stream);
      const char* from = static_cast<const char*>(data);
      return in_group(counts.size(), [&](std::size_t r) {
        const char* const part = from;
        from += counts[r] * static_cast<std::int64_t>(parts.element_size());
        return ncclReduce(part, mine.data_ptr(), static_cast<std::size_t>(counts[r]), type, ncclSum,
                          static_cast<int>(r), comm_, stream);
      });
    });
  }

 private:
  /// One call a rank, as one launch.
  template <class Call>
  static ncclResult_t in_group(std::size_t num_ranks, const Call& call) {
    ncclResult_t result = ncclGroupStart();
    for (std::size_t r = 0; r < num_ranks && result == ncclSuccess; ++r) result = call(r);
    const ncclResult_t ended = ncclGroupEnd();
    return result == ncclSuccess ? ended : result;
  }

  /// A failed communicator is aborted, which frees the ranks' GPUs from waiting for each other, and is not used again.
  void check(ncclResult_t result, const char* call) {
    if (result == ncclSuccess || result == ncclInProgress) return;
    std::string reason = ncclGetErrorString(result);
    if (const char* more = ncclGetLastError(comm_); more != nullptr && *more != '\0') reason += concat(", ", more);
    if (comm_ != nullptr) ncclCommAbort(comm_);
    comm_ = nullptr;
    throw Error(ExitCode::kOther, concat(call, " failed in ", progress_mark().collective, " (the GPUs lost contact): ",
                                         reason, ": NCCL_DEBUG=INFO tells more; continue from the last checkpoint"));
  }

  /// Puts a collective on the stream of collectives, behind the work that the current stream has been given.
  template <class Call>
  Wait start(const at::Tensor& tensor, const char* name, const Call& call) {
    check_usable(name);
    const c10::cuda::CUDAGuard device(tensor.device());
    if (!stream_) stream_ = c10::cuda::getStreamFromPool(true, tensor.device().index());
    at::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream(tensor.device().index()));
    ready.block(*stream_);
    check(call(tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()), stream_->stream()), name);
    auto done = std::make_shared<at::cuda::CUDAEvent>();
    done->record(*stream_);
    return [this, done, name] { wait(*done, name); };
  }

  /// Waits while polling NCCL's asynchronous errors, so that a lost peer is a message and no hang. What the current
  /// stream is given afterwards finds the result, what it was given before goes on meanwhile.
  void wait(const at::cuda::CUDAEvent& done, const char* name) {
    const auto start = std::chrono::steady_clock::now();
    while (!done.query()) {
      check_usable(name);
      ncclResult_t state = ncclSuccess;
      const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
      check(asked == ncclSuccess ? state : asked, name);
      // Short collectives are watched closely, long ones leave the core to others.
      if (std::chrono::steady_clock::now() - start > std::chrono::milliseconds(1)) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      } else {
        std::this_thread::yield();
      }
    }
  }

  void check_usable(const char* name) const {
    if (comm_ == nullptr) throw Error(ExitCode::kOther, concat(name, " after an earlier failure of NCCL"));
  }

  ncclComm_t comm_ = nullptr;
  std::optional<c10::cuda::CUDAStream> stream_;  ///< of all its collectives
};

}  // namespace

std::unique_ptr<DeviceCollectives> DeviceCollectives::make(const Communicator& comm) {
  return std::make_unique<NcclCollectives>(comm);
}

#else

std::unique_ptr<DeviceCollectives> DeviceCollectives::make(const Communicator&) {
  throw std::logic_error("a collective of device tensors in a build without CUDA");
}

#endif

}  // namespace rluf
