#include "rluf/pipeline/plan/model_work.hpp"

#include <algorithm>

namespace rluf {
namespace {

struct Forward {
  Quantity matrices, attention, head;
};

Forward forward(const LlamaConfig& config, const ShapeSymbols& s, const Workload& load) {
  const Quantity head = config.num_scores > 0 ? 2 * load.documents * s.head : 2 * load.rows * s.V * s.D;
  return {(2 * load.tokens * s.L * s.layer_matrices).as("f_matrices"),
          (4 * load.pairs * s.L * s.H * s.K).as("f_attention"), head.as("f_head")};
}

std::vector<Figure> forward_figures(const Forward& f) {
  return {{"forward: matrices of the layers", f.matrices, "FLOP"},
          {"forward: attention", f.attention, "FLOP"},
          {"forward: head", f.head, "FLOP"}};
}

}  // namespace

Workload Workload::of(std::span<const std::int64_t> lengths, std::int64_t rows) {
  double tokens = 0, pairs = 0;
  for (const std::int64_t length : lengths) {
    tokens += static_cast<double>(length);
    pairs += static_cast<double>(length * (length + 1) / 2);
  }
  return {{"n", static_cast<double>(lengths.size())}, {"t", tokens}, {"a", pairs}, {"R", static_cast<double>(rows)}};
}

Workload Workload::of_means(const Quantity& documents, const Quantity& tokens_each, const Quantity& rows_each) {
  const Quantity n = documents.as("n");
  return {n,
          (n * tokens_each).as("t"),
          (n * tokens_each * (tokens_each + 1) / 2).as("a"),
          (n * rows_each).as("R"),
          tokens_each,
          rows_each};
}

std::vector<Figure> Workload::figures() const {
  return {{"tokens of a document", tokens_each},     {"of them with a log-probability", rows_each},
          {"documents of a micro-batch", documents}, {"their tokens", tokens},
          {"pairs of a query and a key", pairs},     {"positions with a log-probability", rows}};
}

Work training_work(const LlamaConfig& config, const ShapeSymbols& s, const Workload& load,
                   std::int64_t trainable_layers, Recompute recompute) {
  const Forward f = forward(config, s, load);
  const std::int64_t layers = trainable_layers < 0 ? config.num_layers : std::min(trainable_layers, config.num_layers);
  const Quantity trained("L_trained", static_cast<double>(layers));
  const Quantity again = (recompute == Recompute::kLayers      ? 1 * s.layer_matrices
                          : recompute == Recompute::kSelective ? 1 * s.feed_forward_matrices
                                                               : Quantity(0))
                             .as("p_again");
  const Quantity attention_again("again", recompute == Recompute::kLayers ? 1 : 0);
  // Tied to an embedding that is not trained, the head's weights take no gradient.
  const bool head_trained = config.num_scores > 0 || trainable_layers < 0 || !config.tie_word_embeddings;
  const Quantity head_useful("u_head", head_trained ? 3 : 2);
  const Quantity head_executed("x_head", head_useful.value() + (config.num_scores > 0 ? 0 : 1));
  Work work;
  work.matrices =
      (2 * load.tokens * (s.L * s.layer_matrices + trained * (2 * s.layer_matrices + again)) + head_executed * f.head)
          .as("x_matrices");
  work.attention = (2 * load.pairs * s.H * s.K * (2 * s.L + (5 + 2 * attention_again) * trained)).as("x_attention");
  work.useful =
      ((2 * load.tokens * s.layer_matrices + 4 * load.pairs * s.H * s.K) * (s.L + 2 * trained) + head_useful * f.head)
          .as("f_useful");
  work.figures = forward_figures(f);
  const std::vector<Figure> backward = {
      {"matrices of a layer that the backward pass multiplies by again", again},
      {"attention that it computes again (1) or not (0)", attention_again},
      {"products of the head that count: forward, and backward to states and weights", head_useful},
      {"products of the head that are executed: also its logits again", head_executed},
      {"executed: matrices, backward twice the forward", work.matrices, "FLOP"},
      {"executed: attention, backward five products for two", work.attention, "FLOP"},
      {"useful, as MFU counts it: backward twice the forward, nothing again", work.useful, "FLOP"}};
  work.figures.insert(work.figures.end(), backward.begin(), backward.end());
  return work;
}

Work forward_work(const LlamaConfig& config, const ShapeSymbols& s, const Workload& load) {
  const Forward f = forward(config, s, load);
  Work work;
  work.matrices = (f.matrices + f.head).as("x_matrices");
  work.attention = f.attention;
  work.useful = (f.matrices + f.attention + f.head).as("f_useful");
  work.figures = forward_figures(f);
  work.figures.push_back({"executed: matrices", work.matrices, "FLOP"});
  return work;
}

}  // namespace rluf
