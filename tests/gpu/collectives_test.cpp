// NCCL on one rank: every type and operation goes through the library and comes back unchanged.
#include "gpu.hpp"
#include "rluf/core/error.hpp"
#include "rluf/parallel/communicator.hpp"
#include "rluf/parallel/device_collectives.hpp"

namespace rluf {
namespace {

class NcclOnOneRank : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    need_gpu();
  }
  Communicator self = Communicator::self();
};

TEST_F(NcclOnOneRank, ReducesAndBroadcastsEveryType) {
  const auto nccl = DeviceCollectives::make(self);
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong, at::kInt, at::kByte}) {
    const at::Tensor before = at::arange(100, at::TensorOptions(gpu).dtype(type)).view({4, 25});
    for (const Reduce op : {Reduce::kSum, Reduce::kMin, Reduce::kMax}) {
      at::Tensor tensor = before.clone();
      nccl->all_reduce(tensor, op);
      EXPECT_TRUE(at::equal(tensor, before)) << c10::toString(type);
    }
    at::Tensor tensor = before.clone();
    nccl->broadcast(tensor, 0);
    EXPECT_TRUE(at::equal(tensor, before)) << c10::toString(type);
  }
}

TEST_F(NcclOnOneRank, WaitsForTheWorkThatFillsTheTensor) {
  const auto nccl = DeviceCollectives::make(self);
  at::Tensor factor = at::ones({2048, 2048}, at::TensorOptions(gpu)) / 2048;
  at::Tensor product = factor;
  for (int i = 0; i < 50; ++i) product = at::matmul(product, factor);  // still running when the collective is called
  product = product.contiguous();
  nccl->all_reduce(product, Reduce::kSum);
  EXPECT_LT(relative_difference(product, factor), 1e-4);
}

TEST_F(NcclOnOneRank, GoesOnBesideTheCurrentStream) {
  const auto nccl = DeviceCollectives::make(self);
  at::Tensor factor = at::ones({2048, 2048}, at::TensorOptions(gpu)) / 2048;
  at::Tensor product = factor;
  for (int i = 0; i < 50; ++i) product = at::matmul(product, factor);
  at::Tensor mine = at::empty({product.numel()}, product.options());
  const auto wait = nccl->start_reduce_scatter(product.view(-1), {product.numel()}, mine);
  const at::Tensor other = at::matmul(factor, factor);  // given to the current stream meanwhile
  wait();
  EXPECT_LT(relative_difference(mine.view_as(factor), factor), 1e-4);
  EXPECT_LT(relative_difference(other, factor), 1e-4);
}

TEST_F(NcclOnOneRank, EmptyTensorsAndUnknownTypes) {
  const auto nccl = DeviceCollectives::make(self);
  at::Tensor empty = at::empty({0}, at::TensorOptions(gpu));
  nccl->all_reduce(empty, Reduce::kSum);
  at::Tensor truth = at::zeros({3}, at::TensorOptions(gpu).dtype(at::kBool));
  EXPECT_THROW(nccl->all_reduce(truth, Reduce::kSum), std::logic_error);
}

TEST_F(NcclOnOneRank, Speed) {
  const auto nccl = DeviceCollectives::make(self);
  at::Tensor small = at::ones({1}, at::TensorOptions(gpu)), large = at::ones({64 << 20}, at::TensorOptions(gpu));
  figure("all_reduce of one float, one rank", 1e6 * seconds_of(100, [&] { nccl->all_reduce(small, Reduce::kSum); }),
         "us");
  figure("all_reduce of 256 MiB, one rank", 1e3 * seconds_of(5, [&] { nccl->all_reduce(large, Reduce::kSum); }), "ms");
}

}  // namespace
}  // namespace rluf
