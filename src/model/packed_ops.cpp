// Shape letters as in llama.cpp; L is the length of one document.
#include "rluf/model/packed_ops.hpp"

#include <torch/torch.h>

#include <algorithm>

#include "held.hpp"

namespace rluf {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One document of a packed tensor as the attention kernels want it: [T, heads, K] -> [1, heads, L, K].
at::Tensor document_of(const at::Tensor& packed, std::int64_t first, std::int64_t last) {
  return packed.slice(0, first, last).transpose(0, 1).unsqueeze(0);
}

/// Key/value heads repeated to the number of query heads (consecutive query heads share one).
at::Tensor repeat_heads(const at::Tensor& kv_1GLK, std::int64_t repeats) {
  return repeats == 1 ? kv_1GLK : kv_1GLK.repeat_interleave(repeats, 1);
}

at::Tensor sum_repeated_heads(const at::Tensor& grad_1HLK, std::int64_t repeats) {
  if (repeats == 1) return grad_1HLK;
  const auto s = grad_1HLK.sizes();
  return grad_1HLK.view({s[0], s[1] / repeats, repeats, s[2], s[3]}).sum(2);
}

/// Calls the CPU flash kernel document by document inside one autograd node: a node for each document and slice would
/// cost more than the arithmetic when documents are short.
struct CpuPackedAttention : torch::autograd::Function<CpuPackedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_THK, const at::Tensor& k_TGK,
                            const at::Tensor& v_TGK, const std::vector<std::int64_t>& offsets) {
    const std::int64_t repeats = q_THK.size(1) / k_TGK.size(1);
    at::Tensor out_THK = at::empty_like(q_THK, at::MemoryFormat::Contiguous);
    std::vector<at::Tensor> log_sums;
    for (std::size_t d = 0; d + 1 < offsets.size(); ++d) {
      const auto first = offsets[d], last = offsets[d + 1];
      if (first == last) continue;
      auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(
          document_of(q_THK, first, last), repeat_heads(document_of(k_TGK, first, last), repeats),
          repeat_heads(document_of(v_TGK, first, last), repeats), 0.0, true);
      out_THK.slice(0, first, last).copy_(out.squeeze(0).transpose(0, 1));
      log_sums.push_back(log_sum);
    }
    variable_list saved{q_THK, k_TGK, v_TGK, out_THK};
    saved.insert(saved.end(), log_sums.begin(), log_sums.end());
    context->save_for_backward(saved);
    context->saved_data["offsets"] = offsets;
    return out_THK;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto &q_THK = saved[0], &k_TGK = saved[1], &v_TGK = saved[2], &out_THK = saved[3];
    const auto offsets = context->saved_data["offsets"].toIntVector();
    const std::int64_t repeats = q_THK.size(1) / k_TGK.size(1);
    const at::Tensor grad_out_THK = grads[0].contiguous();
    at::Tensor grad_q = at::empty_like(q_THK), grad_k = at::empty_like(k_TGK), grad_v = at::empty_like(v_TGK);
    std::size_t next_log_sum = 4;
    for (std::size_t d = 0; d + 1 < offsets.size(); ++d) {
      const auto first = offsets[d], last = offsets[d + 1];
      if (first == last) continue;
      auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          document_of(grad_out_THK, first, last), document_of(q_THK, first, last),
          repeat_heads(document_of(k_TGK, first, last), repeats),
          repeat_heads(document_of(v_TGK, first, last), repeats), document_of(out_THK, first, last),
          saved[next_log_sum++], 0.0, true);
      grad_q.slice(0, first, last).copy_(gq.squeeze(0).transpose(0, 1));
      grad_k.slice(0, first, last).copy_(sum_repeated_heads(gk.contiguous(), repeats).squeeze(0).transpose(0, 1));
      grad_v.slice(0, first, last).copy_(sum_repeated_heads(gv.contiguous(), repeats).squeeze(0).transpose(0, 1));
    }
    return {grad_q, grad_k, grad_v, at::Tensor()};
  }
};

/// Tensors without storage go through the same shapes: what attention keeps for backward, and what it gives.
struct MetaAttention : torch::autograd::Function<MetaAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_THK, const at::Tensor& k_TGK,
                            const at::Tensor& v_TGK) {
    const at::Tensor out_THK = at::empty_like(q_THK, at::MemoryFormat::Contiguous);
    const at::Tensor log_sums_TH = at::empty({q_THK.size(0), q_THK.size(1)}, q_THK.options().dtype(torch::kFloat32));
    context->save_for_backward({q_THK, k_TGK, v_TGK, out_THK, log_sums_TH});
    return out_THK;
  }
  static variable_list backward(AutogradContext* context, variable_list) {
    const auto saved = context->get_saved_variables();
    return {at::empty_like(saved[0]), at::empty_like(saved[1]), at::empty_like(saved[2])};
  }
};

/// Rows of logits that stand in memory at once: about 64 MiB of float32.
std::int64_t rows_per_slice(std::int64_t vocab_size) { return std::max<std::int64_t>(16, (16 << 20) / vocab_size); }

using Part = std::optional<VocabularyPart>;

/// Targets as columns of this rank's logits, and 1 where they are among them; all are if there is one part.
struct LocalTargets {
  at::Tensor columns_R1, here_R;
  LocalTargets(const at::Tensor& targets_R, std::int64_t num_columns, const Part& part)
      : columns_R1(targets_R.unsqueeze(1)) {
    if (!part) return;
    const at::Tensor columns_R = targets_R - part->first_token;
    here_R = columns_R.ge(0).bitwise_and(columns_R.lt(num_columns)).to(torch::kFloat32);
    columns_R1 = columns_R.clamp(0, num_columns - 1).unsqueeze(1);
  }
};

/// log of the sum of exp over the whole vocabulary, from that over each rank's part.
at::Tensor combined_log_sums(const at::Tensor& log_sums_R, const Communicator& axis) {
  at::Tensor largest_R = log_sums_R.clone();
  axis.all_reduce(largest_R, Reduce::kMax);
  at::Tensor sums_R = (log_sums_R - largest_R).exp();
  axis.all_reduce(sums_R);
  return largest_R + sums_R.log();
}

struct ChosenTokenLogProbs : torch::autograd::Function<ChosenTokenLogProbs> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden_RD, const at::Tensor& weight_VD,
                            const at::Tensor& targets_R, const Part& part) {
    const std::int64_t R = hidden_RD.size(0), step = rows_per_slice(weight_VD.size(0));
    const LocalTargets targets(targets_R, weight_VD.size(0), part);
    const auto float_options = hidden_RD.options().dtype(torch::kFloat32);
    at::Tensor chosen_R = at::empty({R}, float_options), log_sums_R = at::empty({R}, float_options);
    for (std::int64_t first = 0; first < R; first += step) {
      const std::int64_t last = std::min(R, first + step);
      const at::Tensor logits = at::linear(hidden_RD.slice(0, first, last), weight_VD).to(torch::kFloat32);
      log_sums_R.slice(0, first, last).copy_(logits.logsumexp(1));
      chosen_R.slice(0, first, last).copy_(logits.gather(1, targets.columns_R1.slice(0, first, last)).squeeze(1));
    }
    if (part) {
      log_sums_R = combined_log_sums(log_sums_R, part->axis);
      chosen_R.mul_(targets.here_R);
      part->axis.all_reduce(chosen_R);
    }
    context->save_for_backward({hidden_RD, weight_VD, targets_R, log_sums_R});
    context->saved_data["part"] = hold(part);
    return chosen_R - log_sums_R;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto &hidden_RD = saved[0], &weight_VD = saved[1], &targets_R = saved[2], &log_sums_R = saved[3];
    const auto& part = held<Part>(context->saved_data["part"]);
    const std::int64_t R = hidden_RD.size(0), step = rows_per_slice(weight_VD.size(0));
    const LocalTargets targets(targets_R, weight_VD.size(0), part);
    const at::Tensor grad_R1 = grads[0].unsqueeze(1);
    const at::Tensor chosen_grad_R1 = part ? grad_R1 * targets.here_R.unsqueeze(1) : grad_R1;
    at::Tensor grad_hidden_RD = at::empty_like(hidden_RD), grad_weight_VD;
    if (context->needs_input_grad(1))
      grad_weight_VD = at::zeros(weight_VD.sizes(), weight_VD.options().dtype(torch::kFloat32));
    for (std::int64_t first = 0; first < R; first += step) {
      const std::int64_t last = std::min(R, first + step);
      const at::Tensor hidden = hidden_RD.slice(0, first, last);
      at::Tensor grad_logits = at::linear(hidden, weight_VD).to(torch::kFloat32);
      grad_logits.sub_(log_sums_R.slice(0, first, last).unsqueeze(1)).exp_().mul_(-grad_R1.slice(0, first, last));
      grad_logits.scatter_add_(1, targets.columns_R1.slice(0, first, last), chosen_grad_R1.slice(0, first, last));
      const at::Tensor typed = grad_logits.to(hidden.scalar_type());
      grad_hidden_RD.slice(0, first, last).copy_(typed.matmul(weight_VD));
      if (grad_weight_VD.defined()) grad_weight_VD.add_(typed.t().matmul(hidden));
    }
    if (part) {
      at::Tensor sum = grad_hidden_RD.to(torch::kFloat32);
      part->axis.all_reduce(sum);
      grad_hidden_RD = sum.to(hidden_RD.scalar_type());
    }
    return {grad_hidden_RD, grad_weight_VD.defined() ? grad_weight_VD.to(weight_VD.scalar_type()) : at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor apply_rope(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const auto halves = x.chunk(2, -1);
  return x * cos + at::cat({-halves[1], halves[0]}, -1) * sin;
}

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<std::int64_t>& offsets) {
  if (q.device().is_cpu()) return CpuPackedAttention::apply(q, k, v, offsets);
  if (q.is_meta()) return MetaAttention::apply(q, k, v);
  std::vector<at::Tensor> documents;
  for (std::size_t d = 0; d + 1 < offsets.size(); ++d) {
    const auto first = offsets[d], last = offsets[d + 1];
    if (first == last) continue;
    documents.push_back(at::scaled_dot_product_attention(document_of(q, first, last), document_of(k, first, last),
                                                         document_of(v, first, last), {}, 0.0, true, {}, true)
                            .squeeze(0)
                            .transpose(0, 1));
  }
  return documents.empty() ? at::empty_like(q) : at::cat(documents, 0);
}

at::Tensor chosen_token_log_probs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                                  const std::optional<VocabularyPart>& part) {
  return ChosenTokenLogProbs::apply(hidden, weight, targets, part);
}

}  // namespace rluf
