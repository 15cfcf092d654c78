// Shape letters as in llama.cpp; N runs of a step, L tokens that a run sees, R of a run's tokens, B blocks.
#include <torch/torch.h>

#include <algorithm>

#include "decoder.hpp"
#include "rluf/kernels/paged_attention.hpp"

namespace rluf {
namespace {

/// Runs of equally many tokens: which rows of the step they are, where what they see lies, and what of it is before
/// each token.
struct RunBatch {
  at::Tensor rows_NR;   ///< int64
  at::Tensor slots_NL;  ///< places in the cache; beyond a run's tokens some place or other
  at::Tensor seen_N1RL;
};

/// Keys and values of all blocks, float32 [B * kBlockTokens, G, K], one a layer.
class DeviceDecoder : public Decoder {
 public:
  DeviceDecoder(const Llama& model, std::int64_t num_blocks) : model_(model) {
    const LlamaConfig config = model.part_config();
    const std::vector<std::int64_t> shape{num_blocks * kBlockTokens, config.num_kv_heads, config.head_dim};
    for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
      keys_.push_back(torch::zeros(shape, torch::TensorOptions(model.device())));
      values_.push_back(torch::zeros(shape, torch::TensorOptions(model.device())));
    }
  }

  at::Tensor step(const StepPlan& plan) override {
    copy_blocks(plan.copies);
    std::vector<std::int64_t> tokens, positions, slots, last_rows;
    std::vector<RunBatch> batches;
    std::vector<std::pair<const Run*, std::int64_t>> singles;  // with their rows
    for (const Run& run : plan.runs) {
      const auto row = static_cast<std::int64_t>(tokens.size()), count = std::ssize(run.tokens);
      for (std::int64_t t = 0; t < count; ++t) {
        tokens.push_back(run.tokens[static_cast<std::size_t>(t)]);
        positions.push_back(run.first + t);
        slots.push_back(slot(run, run.first + t));
      }
      if (!run.draws.empty()) last_rows.push_back(row + count - 1);
      if (count == 1) {
        singles.emplace_back(&run, row);
      } else {
        batches.push_back(batch({{&run, row}}));
      }
    }
    if (!singles.empty()) batches.push_back(batch(singles));
    const at::Tensor slots_T = on_device(slots);
    const auto attend = [&](std::int64_t layer, const at::Tensor& q_THK, const at::Tensor& k_TGK,
                            const at::Tensor& v_TGK) {
      at::Tensor &keys = keys_[static_cast<std::size_t>(layer)], &values = values_[static_cast<std::size_t>(layer)];
      keys.index_copy_(0, slots_T, k_TGK.to(torch::kFloat32));
      values.index_copy_(0, slots_T, v_TGK.to(torch::kFloat32));
      at::Tensor out_THK = torch::empty(q_THK.sizes(), q_THK.options());
      for (const auto& [rows_NR, slots_NL, seen_N1RL] : batches) {
        const auto chosen = [&](const at::Tensor& from, const at::Tensor& rows) {  // [N, heads, rows, K]
          return from.index_select(0, rows.flatten())
              .view({rows.size(0), rows.size(1), from.size(1), from.size(2)})
              .transpose(1, 2)
              .to(torch::kFloat32);
        };
        const at::Tensor out_NHRK = at::scaled_dot_product_attention(
            chosen(q_THK, rows_NR), chosen(keys, slots_NL), chosen(values, slots_NL), seen_N1RL, 0.0, false, {}, true);
        out_THK.index_copy_(0, rows_NR.flatten(), out_NHRK.transpose(1, 2).flatten(0, 1).to(q_THK.scalar_type()));
      }
      return out_THK;
    };
    const at::Tensor hidden_TD = model_.transform(on_device(tokens), on_device(positions), attend);
    return model_.logits(hidden_TD.index_select(0, on_device(last_rows))).to(torch::kCPU).contiguous();
  }

 private:
  at::Tensor on_device(const std::vector<std::int64_t>& numbers) const {
    return torch::tensor(numbers, torch::kInt64).to(model_.device());
  }

  static std::int64_t slot(const Run& run, std::int64_t position) {
    return run.blocks[static_cast<std::size_t>(position / kBlockTokens)] * kBlockTokens + position % kBlockTokens;
  }

  /// All at once: no block is read after it was written to.
  void copy_blocks(const std::vector<BlockCopy>& copies) {
    if (copies.empty()) return;
    std::vector<std::int64_t> from, to;
    for (const BlockCopy& copy : copies)
      for (std::int64_t t = 0; t < kBlockTokens; ++t) {
        from.push_back(copy.from * kBlockTokens + t);
        to.push_back(copy.to * kBlockTokens + t);
      }
    const at::Tensor from_T = on_device(from), to_T = on_device(to);
    for (auto* side : {&keys_, &values_})
      for (at::Tensor& tensor : *side) tensor.index_copy_(0, to_T, tensor.index_select(0, from_T));
  }

  /// Runs of equally many tokens, with the rows where they begin.
  RunBatch batch(const std::vector<std::pair<const Run*, std::int64_t>>& runs) const {
    const auto N = std::ssize(runs), R = std::ssize(runs[0].first->tokens);
    std::int64_t L = 0;
    for (const auto& [run, row] : runs) L = std::max(L, run->first + R);
    std::vector<std::int64_t> rows, slots, positions;
    for (const auto& [run, row] : runs) {
      for (std::int64_t t = 0; t < R; ++t) {
        rows.push_back(row + t);
        positions.push_back(run->first + t);
      }
      for (std::int64_t t = 0; t < L; ++t) slots.push_back(t < run->first + R ? slot(*run, t) : 0);
    }
    const at::Tensor positions_N1R1 = on_device(positions).view({N, 1, R, 1});
    return {on_device(rows).view({N, R}), on_device(slots).view({N, L}),
            torch::arange(L, positions_N1R1.options()).view({1, 1, 1, L}).le(positions_N1R1)};
  }

  const Llama model_;
  std::vector<at::Tensor> keys_, values_;
};

}  // namespace

std::unique_ptr<Decoder> device_decoder(const Llama& model, std::int64_t num_blocks) {
  return std::make_unique<DeviceDecoder>(model, num_blocks);
}

}  // namespace rluf
