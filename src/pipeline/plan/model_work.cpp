#include "rluf/pipeline/plan/model_work.hpp"

namespace rluf {
namespace {

struct Forward {
  Quantity matrices, attention, head;
};

/// Of a layer on all ranks of the tensor axis, each of which has the undivided sides whole.
Quantity adapters_run(const ModelOnLayout& m) { return m.tensor * m.layer_adapters; }

Forward forward(const ModelOnLayout& m, const Workload& load) {
  const ShapeSymbols& s = m.shape;
  const Quantity head = m.config.num_scores > 0 ? 2 * load.documents * s.head : 2 * load.rows * s.V * s.D;
  const Quantity adapters = 2 * load.tokens * (m.trained_layers * adapters_run(m));
  return {(2 * load.tokens * s.L * s.layer_matrices + adapters).as("f_matrices"),
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

Work training_work(const ModelOnLayout& m, const Workload& load, Recompute recompute) {
  const ShapeSymbols& s = m.shape;
  const Forward f = forward(m, load);
  const Quantity &p = s.layer_matrices, &trained = m.trained_layers;
  const Quantity again =
      (recompute == Recompute::kLayers      ? 1 * p + adapters_run(m)
       : recompute == Recompute::kSelective ? 1 * s.feed_forward_matrices + m.tensor * m.feed_forward_adapters
                                            : Quantity(0))
          .as("p_again");
  const Quantity attention_again("again", recompute == Recompute::kLayers ? 1 : 0);
  // The language head takes no gradient where it is an embedding that is not trained, or beside adapters.
  const Quantity head_useful("u_head", m.trains_head ? 3 : 2);
  // Every rank of the tensor axis has score heads whole.
  const bool scores = m.config.num_scores > 0;
  const Quantity head_executed("x_head", scores ? head_useful.value() * m.tensor.value() : head_useful.value() + 1);
  Work work;
  work.figures = forward_figures(f);
  const auto backward = [&](const Quantity& adapters) { return m.has_adapters() ? p + 3 * adapters : 2 * p; };
  Quantity executed = s.L * p + trained * (backward(adapters_run(m)) + again);
  if (m.has_adapters()) {
    const Quantity inputs = s.D * s.K * (s.H + 2 * s.G);  // of query, key and value
    if (recompute != Recompute::kLayers) executed = executed - (inputs + 3 * m.tensor * m.rank * s.D);
    const Quantity whole = (m.rank * (7 * s.D + 2 * s.K * (s.H + s.G) + 3 * s.F)).as("p_lora_whole");
    work.figures.push_back({"adapters of a layer, each part once", whole});
    const Quantity useful = s.L * p + trained * backward(whole) - (inputs + 3 * m.rank * s.D);
    work.useful = 2 * load.tokens * useful + 4 * load.pairs * s.H * s.K * (s.L + 2 * trained);
  } else {
    work.useful = (2 * load.tokens * p + 4 * load.pairs * s.H * s.K) * (s.L + 2 * trained);
  }
  work.matrices = (2 * load.tokens * executed + head_executed * f.head).as("x_matrices");
  work.attention = (2 * load.pairs * s.H * s.K * (2 * s.L + (5 + 2 * attention_again) * trained)).as("x_attention");
  work.useful = (work.useful + head_useful * f.head).as("f_useful");
  const std::vector<Figure> rest = {
      {"matrices of a layer that the backward pass multiplies by again", again},
      {"attention that it computes again (1) or not (0)", attention_again},
      {"products of the head that count: forward, and backward to states and weights", head_useful},
      {scores ? "products of the head that are executed: on each rank of the tensor axis"
              : "products of the head that are executed: also its logits again",
       head_executed},
      {m.has_adapters() ? "executed: matrices, backward to states, adapters also to themselves; none below them"
                        : "executed: matrices, backward twice the forward",
       work.matrices, "FLOP"},
      {"executed: attention, backward five products for two", work.attention, "FLOP"},
      {m.has_adapters() ? "useful, as MFU counts it: what the gradients of the adapters need, nothing again"
                        : "useful, as MFU counts it: backward twice the forward, nothing again",
       work.useful, "FLOP"}};
  work.figures.insert(work.figures.end(), rest.begin(), rest.end());
  return work;
}

Work forward_work(const ModelOnLayout& m, const Workload& load) {
  const Forward f = forward(m, load);
  Work work;
  work.matrices = (f.matrices + (m.config.num_scores > 0 ? m.tensor * f.head : 1 * f.head)).as("x_matrices");
  work.attention = f.attention;
  work.useful = (f.matrices + f.attention + f.head).as("f_useful");
  work.figures = forward_figures(f);
  work.figures.push_back({"executed: matrices", work.matrices, "FLOP"});
  return work;
}

}  // namespace rluf
