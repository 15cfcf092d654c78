#pragma once
#include "gathered_weights.hpp"
#include "rluf/model/llama.hpp"

namespace rluf {

/// The gradients of one step's micro-batches, added up over micro-batches and ranks.
class GradientSum : public GradientSink {
 public:
  /// `reproducible`: in fixed point (kernels/fixed_point.hpp), the same bits whichever rank computed which micro-batch;
  /// otherwise in float32 in the order in which they come; then they may travel between ranks in bfloat16
  /// (layout.reduces_bf16). `comm`: all ranks that work on the model.
  /// @memory 8 bytes (reproducible) or 4 a trainable parameter, or of the shard axis's share where it is divided
  GradientSum(Llama& model, std::int64_t num_micro_batches, bool reproducible, const Communicator& comm);
  ~GradientSum() override;
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;
  /// Takes what backward() of one micro-batch left in the parameters' grad.
  void add();
  void add(const std::vector<std::size_t>& indices, const std::vector<at::Tensor>& gradients,
           bool more_to_come) override;
  /// The sum over all ranks, of each trainable parameter the rows that this rank updates; infinite if a term was, or
  /// was too large. To be asked once. @collective @shape each [rows of update_share, ...] float32
  std::vector<at::Tensor> reduce();

 private:
  struct Sum {
    std::size_t index;  ///< of the parameter
    UpdateShare share;
    at::Tensor values;  ///< rows share.block, int64 or float32
  };
  void add_to(at::Tensor& sums, const at::Tensor& gradient);
  /// The sums of the axis's ranks, each rank's part of them, beside other work.
  PendingCollective start_scatter(const Communicator& axis, const at::Tensor& sums,
                                  const std::vector<std::int64_t>& counts) const;
  void arrive();  ///< adds what is on its way
  at::Tensor as_float(const at::Tensor& sums) const;
  Llama& model_;
  Communicator comm_;
  bool reproducible_, travels_bf16_, fits_ = true;
  double largest_ = 0;
  std::vector<Sum> sums_;
  PendingCollective on_its_way_;  ///< to these, while backward goes on
  std::vector<Sum*> awaits_;
  std::size_t awaited_ = 0;  ///< the one parameter that a pass uses twice
  at::Tensor awaiting_;      ///< its gradient of the first use, until the second
};

}  // namespace rluf
