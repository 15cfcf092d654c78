#include "rluf/pipeline/policy/warm_up.hpp"

#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/policy/policy_to_train.hpp"
#include "rluf/pipeline/policy/term_loss.hpp"

namespace rluf {
namespace {

/// Chosen and rejected answers in turn.
std::vector<Document> documents_of(const PairData& pairs, const std::vector<std::int64_t>& examples) {
  std::vector<Document> documents;
  for (const std::int64_t i : examples) {
    documents.push_back(pairs.chosen().document(i));
    documents.push_back(pairs.rejected().document(i));
  }
  return documents;
}

void check_prompts(const PairData& pairs) {
  for (const DocumentStore* store : {&pairs.chosen(), &pairs.rejected()})
    if (std::count(store->response_starts().begin(), store->response_starts().end(), 0) > 0)
      fail_data("a pair of data/helpfulness.h5 has no token before its answer",
                "the probability of its first token is not defined", "raise data.max_tokens");
}

/// Share of the held-out pairs whose margin is above 0, and the mean margin. @collective
nlohmann::json held_out_margins(const PairData& pairs, const Llama& model, const Llama& reference, std::int64_t tokens,
                                const Communicator& comm) {
  std::vector<Document> documents;
  guarded(comm, [&] {
    for (std::int64_t i = 0; i < pairs.chosen().size(); ++i)
      for (Document& document : documents_of(pairs, {i})) documents.push_back(std::move(document));
  });
  const auto after = response_log_probs(model, documents, tokens, comm, "warm-up evaluation"),
             before = response_log_probs(reference, documents, tokens, comm, "warm-up evaluation");
  double right = 0, sum = 0;
  for (std::size_t i = 0; i < documents.size(); i += 2) {
    const double margin = (after[i] - before[i]) - (after[i + 1] - before[i + 1]);
    right += margin > 0 ? 1 : 0;
    sum += margin;
  }
  const auto n = static_cast<double>(documents.size() / 2);
  if (n == 0) return {{"held_out_pairs", 0}};
  return {{"held_out_pairs", n}, {"held_out_accuracy", right / n}, {"held_out_margin", sum / n}};
}

}  // namespace

TrainOptions warm_up_training(const PolicyOptions& options, std::int64_t num_pairs) {
  TrainOptions train = options.train;
  train.learning_rate = options.warm_up_learning_rate;
  train.max_steps = options.warm_up_steps;
  train.global_batch = options.warm_up_batch;
  train.epochs = std::ceil(static_cast<double>(train.max_steps * train.global_batch) /
                           static_cast<double>(std::max<std::int64_t>(1, num_pairs)));
  return train;
}

std::string warm_up(const PolicyOptions& options, const std::string& base, const StageContext& context,
                    nlohmann::json& table) {
  const Communicator& comm = context.grid.world;
  const std::string path = context.directory.data("helpfulness.h5"), folder = context.directory.model("warm_up");
  const PairData pairs(path, Split::kTrain, comm), held_out(path, Split::kHoldout, comm);
  check_prompts(pairs);
  check_prompts(held_out);
  std::optional<Llama> reference;
  std::unique_ptr<ModelText> text;
  guarded(comm, [&] {
    reference.emplace(Llama::load(base, context.device, 0, 0, context.layout()));
    reference->set_compute_type(compute_type(context.model));
    text = load_model_text(base, context.model);
  });
  const std::int64_t num_pairs = pairs.chosen().size();
  std::vector<std::int64_t> num_tokens;
  for (std::size_t i = 0; i < static_cast<std::size_t>(num_pairs); ++i)
    num_tokens.push_back(pairs.chosen().num_tokens()[i] + pairs.rejected().num_tokens()[i]);
  const TrainPlan plan{.stage = "policy_warm_up",
                       .num_tokens = num_tokens,
                       .seed = context.seed(),
                       .identity = {{"base", context.directory.portable(base)},
                                    {"pairs", num_pairs},
                                    {"batch", options.warm_up_batch},
                                    {"dpo_beta", options.dpo_beta}}};
  const LossFunction loss =
      offline_dpo_loss([&](const std::vector<std::int64_t>& examples) { return documents_of(pairs, examples); },
                       options.dpo_beta, *reference);
  const TrainOptions training = warm_up_training(options, num_pairs);
  Llama model = policy_to_train(*reference, training);
  const auto averages = train(model, plan, training, loss, comm, context.directory);
  table = held_out_margins(held_out, model, *reference, options.train.micro_batch_tokens, comm);
  table["pairs"] = num_pairs;
  table["steps"] = options.warm_up_steps;
  table["batch"] = options.warm_up_batch;
  table["final"] = averages;
  guarded(comm, [&] { model.save(folder, text->tokenizer.path(), context.model.save_dtype); });
  if (table.contains("held_out_accuracy"))
    log_info(concat("policy: after the warm-up ", std::lround(100 * table["held_out_accuracy"].get<double>()), " % of ",
                    table["held_out_pairs"].get<double>(),
                    " held-out pairs have the chosen answer gain more than the rejected one"));
  return folder;
}

}  // namespace rluf
