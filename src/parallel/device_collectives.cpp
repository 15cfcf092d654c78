#include "rluf/parallel/device_collectives.hpp"

#include <ATen/ATen.h>

#include "rluf/core/error.hpp"
#include "rluf/parallel/communicator.hpp"

#ifdef RLUF_CUDA
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <cstring>
#include <thread>
#endif

namespace rluf {

#ifdef RLUF_CUDA
namespace {

void check_nccl(ncclResult_t result, const char* call, ncclComm_t comm) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  throw Error(ExitCode::kOther, concat(call, " failed (the GPUs lost contact): ", ncclGetErrorString(result), " ",
                                       comm == nullptr ? "" : ncclGetLastError(comm)));
}

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
    ncclUniqueId id;
    std::string text;
    guarded(comm, [&] {
      if (comm.rank() != 0) return;
      check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId", nullptr);
      text.assign(id.internal, sizeof id.internal);
    });
    text = comm.broadcast(text, 0);
    std::memcpy(id.internal, text.data(), sizeof id.internal);
    check_nccl(ncclCommInitRank(&comm_, comm.size(), id, comm.rank()), "ncclCommInitRank", nullptr);
  }
  ~NcclCollectives() override {
    if (comm_ != nullptr) ncclCommDestroy(comm_);
  }
  void all_reduce(at::Tensor& tensor, Reduce op) override {
    const ncclRedOp_t operation = op == Reduce::kSum ? ncclSum : op == Reduce::kMin ? ncclMin : ncclMax;
    const auto stream = c10::cuda::getCurrentCUDAStream(tensor.device().index());
    check_nccl(ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()),
                             nccl_type(tensor.scalar_type()), operation, comm_, stream.stream()),
               "ncclAllReduce", comm_);
    wait(stream, "ncclAllReduce");
  }
  void broadcast(at::Tensor& tensor, int root) override {
    const auto stream = c10::cuda::getCurrentCUDAStream(tensor.device().index());
    check_nccl(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()),
                             nccl_type(tensor.scalar_type()), root, comm_, stream.stream()),
               "ncclBroadcast", comm_);
    wait(stream, "ncclBroadcast");
  }

 private:
  /// Waits for the collective while polling NCCL's asynchronous errors, so that a lost peer is a message and no hang.
  void wait(const c10::cuda::CUDAStream& stream, const char* call) {
    while (!stream.query()) {
      ncclResult_t state = ncclSuccess;
      check_nccl(ncclCommGetAsyncError(comm_, &state), call, comm_);
      if (state != ncclSuccess && state != ncclInProgress) {
        ncclCommAbort(comm_);
        comm_ = nullptr;
        check_nccl(state, call, nullptr);
      }
      std::this_thread::yield();
    }
  }
  ncclComm_t comm_ = nullptr;
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
