#include <torch/torch.h>

#include <numeric>

#include "objective.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {
namespace {

/// The length's share of the scores of both responses, on pairs that were not trained on. @collective
void fit_length(RewardModel& reward, const PairData& pairs, const std::vector<std::int64_t>& rows,
                const ObjectiveOptions& objective, const StageContext& context) {
  std::vector<Document> documents;
  guarded(context.grid.world, [&] {
    for (const DocumentStore* side : {&pairs.chosen(), &pairs.rejected()})
      for (const std::int64_t i : rows) documents.push_back(side->document(i));
  });
  window_scores(reward, documents, objective, context);
}

}  // namespace

void train_pairs(const std::string& name, const ObjectiveOptions& objective, const RewardOptions& options,
                 const StageContext& context) {
  const Communicator& comm = context.grid.world;
  const std::string base = starting_model(objective.base, context), path = context.directory.data(name + ".h5");
  RewardModel reward = starting_reward(name, objective, base, context);
  const PairData pairs(path, Split::kTrain, comm), held_out(path, Split::kHoldout, comm);
  std::vector<std::int64_t> order(static_cast<std::size_t>(pairs.chosen().size()));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const TrainedRows rows = split_rows(std::move(order), objective.has_window());
  std::vector<std::int64_t> num_tokens;  // the trained pairs are the first ones
  for (std::size_t i = 0; i < rows.trained.size(); ++i)
    num_tokens.push_back(pairs.chosen().num_tokens()[i] + pairs.rejected().num_tokens()[i]);
  const auto averages = train(
      reward.model,
      {.stage = name,
       .num_tokens = num_tokens,
       .seed = context.seed(),
       .identity = {{"base", base}, {"pairs", num_tokens.size()}, {"batch", objective.train.global_batch}}},
      objective.train,
      [&](const Llama& model, const std::vector<std::int64_t>& batch) {
        std::vector<TokenIds> documents;
        std::vector<float> margins;
        for (const std::int64_t i : batch) documents.push_back(pairs.chosen().document(i).tokens);
        for (const std::int64_t i : batch) {
          documents.push_back(pairs.rejected().document(i).tokens);
          margins.push_back(static_cast<float>(objective.margin) * pairs.margins()[static_cast<std::size_t>(i)]);
        }
        const auto count = static_cast<std::int64_t>(batch.size());
        const at::Tensor heads = heads_of(model, documents), chosen = heads.slice(0, 0, count),
                         rejected = heads.slice(0, count);
        return MicroLoss{bradley_terry_sum(chosen, rejected, torch::tensor(margins, torch::kFloat32).to(model.device()),
                                           objective.centering,
                                           head_weights(batch, objective.heads, context.seed(), model.device())),
                         {{"pair_accuracy", chosen.mean(1).gt(rejected.mean(1)).sum().item<double>()}}};
      },
      comm, context.directory);
  if (!rows.fitted.empty()) fit_length(reward, pairs, rows.fitted, objective, context);
  nlohmann::json table = measure_pairs(reward, held_out, options, objective, context);
  table["training_pairs"] = num_tokens.size();
  finish(name, objective, reward, std::move(table), averages, base, context);
}

}  // namespace rluf
