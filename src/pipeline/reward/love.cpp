#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "auxiliary_training.hpp"
#include "objective.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {
namespace {

std::vector<std::int64_t> rows_by_time(const LabelledData& examples) {
  std::vector<std::int64_t> rows(examples.labels().size());
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  const auto& time = examples.timestamps();
  std::stable_sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) {
    return time[static_cast<std::size_t>(a)] < time[static_cast<std::size_t>(b)];
  });
  return rows;
}

/// What a positive's loss is multiplied by; with 0 both classes weigh the same.
double positive_weight(const ObjectiveOptions& objective, const LabelledData& examples,
                       const std::vector<std::int64_t>& rows) {
  if (objective.positive_weight > 0) return objective.positive_weight;
  double positives = 0;
  for (const std::int64_t row : rows) positives += examples.labels()[static_cast<std::size_t>(row)];
  const double negatives = static_cast<double>(rows.size()) - positives;
  return positives > 0 && negatives > 0 ? negatives / positives : 1.0;
}

/// On the window of the last rows, which were not trained on: first the length's share, then the calibration.
/// @collective
void fit_window(RewardModel& reward, const LabelledData& examples, const std::vector<std::int64_t>& rows,
                const ObjectiveOptions& objective, const StageContext& context) {
  std::vector<Document> documents;
  std::vector<double> labels;
  guarded(context.grid.world, [&] {
    for (const std::int64_t i : rows) {
      documents.push_back(examples.documents().document(i));
      labels.push_back(examples.labels()[static_cast<std::size_t>(i)]);
    }
  });
  const std::vector<double> raw = window_scores(reward, documents, objective, context);
  Calibration& calibration = reward.calibration;
  const bool is_fitted = objective.calibrate == "temperature" ? fit_temperature(raw, labels, calibration)
                         : objective.calibrate == "platt"     ? fit_platt(raw, labels, calibration)
                         : objective.calibrate == "isotonic"  ? fit_isotonic(raw, labels, calibration)
                                                              : true;
  if (!is_fitted)
    log_warning(concat("love: no calibration (love.calibrate = ", objective.calibrate, ") can be fitted on ",
                       rows.size(),
                       " rows (one class, or scores that do not rise with the label): only the prior is corrected"));
}

}  // namespace

void train_love(const RewardOptions& options, const StageContext& context) {
  const ObjectiveOptions& objective = options.love;
  const Communicator& comm = context.grid.world;
  const std::string base = starting_model(objective.base, context);
  RewardModel reward = starting_reward("love", objective, base, context);
  const LabelledData examples(context.directory.data("love.h5"), Split::kTrain, comm),
      held_out(context.directory.data("love.h5"), Split::kHoldout, comm);
  const TrainedRows rows = split_rows(rows_by_time(examples), objective.has_window());
  const double weight = positive_weight(objective, examples, rows.trained);
  std::optional<AuxiliaryTraining> also;
  guarded(comm, [&] { also.emplace(objective, examples, rows.trained); });
  std::vector<std::int64_t> num_tokens;
  for (const std::int64_t row : rows.trained)
    num_tokens.push_back(examples.documents().num_tokens()[static_cast<std::size_t>(row)]);
  nlohmann::json identity{{"base", base}, {"examples", num_tokens.size()}, {"batch", objective.train.global_batch}};
  if (!objective.also.empty()) identity["also"] = {objective.also, objective.also_weight};
  const auto averages = train(
      reward.model,
      {.stage = "love", .num_tokens = num_tokens, .seed = context.seed(), .identity = std::move(identity)},
      objective.train,
      [&](const Llama& model, const std::vector<std::int64_t>& batch) {
        std::vector<TokenIds> documents;
        std::vector<float> labels;
        std::vector<std::int64_t> of_batch;
        for (const std::int64_t position : batch) {
          of_batch.push_back(rows.trained[static_cast<std::size_t>(position)]);
          documents.push_back(examples.documents().document(of_batch.back()).tokens);
          labels.push_back(examples.labels()[static_cast<std::size_t>(of_batch.back())]);
        }
        const at::Tensor targets = torch::tensor(labels, torch::kFloat32).to(model.device());
        const at::Tensor scores = also->scores(model, documents);
        MicroLoss loss{
            binary_cross_entropy_sum(scores.slice(0, 0, std::ssize(documents)).slice(1, 0, objective.heads), targets,
                                     head_weights(of_batch, objective.heads, context.seed(), model.device()), weight),
            {}};
        also->add_losses(scores, of_batch, loss);
        return loss;
      },
      comm, context.directory);
  also->finish(reward);
  // The weight multiplies the odds that are learned.
  reward.calibration.prior_correction = examples.prior_correction() - std::log(weight);
  if (!rows.fitted.empty()) fit_window(reward, examples, rows.fitted, objective, context);
  nlohmann::json table = measure_love(reward, held_out, options, context, also->table());
  const Calibration& calibration = reward.calibration;
  double positives = 0;
  for (const float label : examples.labels()) positives += label;
  table["training_examples"] = rows.trained.size();
  table["calibration"] = {{"kind", objective.calibrate},  {"fitted_examples", rows.fitted.size()},
                          {"scale", calibration.scale},   {"shift", calibration.shift},
                          {"logits", calibration.logits}, {"probabilities", calibration.probabilities}};
  table["positive_weight"] = weight;
  table["training_rate"] = positives / static_cast<double>(examples.documents().size());
  table["prior_correction"] = calibration.prior_correction;
  finish("love", objective, reward, std::move(table), averages, base, context);
}

}  // namespace rluf
