#include "auxiliary_training.hpp"

#include <torch/torch.h>

#include <cmath>

#include "objective.hpp"
#include "rluf/config/option_table.hpp"
#include "rluf/core/error.hpp"
#include "rluf/pipeline/reward/losses.hpp"

namespace rluf {

std::vector<std::vector<double>> columns_of(const std::vector<AuxiliaryTarget>& targets, const LabelledData& data) {
  if (targets.empty()) return {};
  const auto numbers = data.numbers();
  std::vector<std::string> names;
  for (const auto& [name, column] : numbers) names.push_back(name);
  std::vector<std::vector<double>> columns;
  for (const AuxiliaryTarget& target : targets) {
    const auto found = numbers.find(target.name);
    if (found == numbers.end()) {
      const std::string nearest = nearest_name(target.name, names);
      std::string known;
      for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
      fail_input(concat("love.also names ", target.name, ", of which no training row of the log has a value"),
                 known.empty() ? "besides the label the data set holds no numbers" : concat("its rows have ", known),
                 nearest.empty() ? "name one of them, or make the data set again from a log that has it (rluf dataset)"
                                 : concat("did you mean ", nearest, "?"));
    }
    columns.push_back(found->second);
  }
  return columns;
}

AuxiliaryTraining::AuxiliaryTraining(const ObjectiveOptions& objective, const LabelledData& examples,
                                     const std::vector<std::int64_t>& trained)
    : num_love_(objective.heads), num_trained_(std::ssize(trained)), weight_(objective.also_weight) {
  const std::vector<AuxiliaryTarget> targets = parse_targets(objective.also);
  labels_ = columns_of(targets, examples);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    std::vector<double> values;
    std::int64_t known = 0;
    for (const std::int64_t row : trained) {
      values.push_back(labels_[i][static_cast<std::size_t>(row)]);
      known += std::isnan(values.back()) ? 0 : 1;
    }
    heads_.push_back(head_of_spread(targets[i], values));
    num_labels_.push_back(known);
  }
}

at::Tensor AuxiliaryTraining::scores(const Llama& model, const std::vector<TokenIds>& documents) const {
  if (heads_.empty()) return heads_of(model, documents);
  PackedBatch batch = PackedBatch::from(documents, model.device());
  const at::Tensor hidden = model.hidden(batch);
  batch.offsets.push_back(batch.offsets.back() + 1);  // one document more, of a single state
  return model.scores(at::cat({hidden, at::ones({1, hidden.size(1)}, hidden.options())}), batch);
}

void AuxiliaryTraining::add_losses(const at::Tensor& scores, const std::vector<std::int64_t>& rows,
                                   MicroLoss& loss) const {
  if (heads_.empty()) return;
  loss.metric_sums["loss_love"] = loss.loss_sum.item<double>();
  const at::Tensor offsets = scores[std::ssize(rows)];
  std::int64_t next_offset = num_love_ + std::ssize(heads_);
  for (std::size_t i = 0; i < heads_.size(); ++i) {
    const AuxiliaryHead& head = heads_[i];
    const std::int64_t first = next_offset;
    next_offset += head.target.num_thresholds();
    double& metric = loss.metric_sums["loss_also_" + head.target.name];
    std::vector<std::int64_t> labelled;
    std::vector<double> values;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const double value = labels_[i][static_cast<std::size_t>(rows[row])];
      if (std::isnan(value)) continue;
      labelled.push_back(static_cast<std::int64_t>(row));
      values.push_back(value);
    }
    if (labelled.empty()) continue;
    const at::Device device = scores.device();
    const at::Tensor raw = scores.select(1, num_love_ + static_cast<std::int64_t>(i))
                               .index_select(0, torch::tensor(labelled, torch::kInt64).to(device)),
                     known = torch::tensor(values, torch::kFloat64);
    at::Tensor lost;
    if (head.target.kind == TargetKind::kRegression) {
      lost = squared_error_sum(raw, ((known - head.center) / head.scale).to(device, raw.scalar_type()));
    } else {
      const at::Tensor start = torch::tensor(head.thresholds, torch::kFloat64).to(device, raw.scalar_type());
      lost = cumulative_logit_sum(raw, (known - head.target.lowest_level()).to(device, torch::kInt64),
                                  rising_thresholds(start, offsets.slice(0, first, next_offset)));
    }
    lost = lost * (static_cast<double>(num_trained_) / static_cast<double>(num_labels_[i]));
    metric = lost.item<double>();
    loss.loss_sum = loss.loss_sum + weight_ * lost;
  }
}

void AuxiliaryTraining::finish(RewardModel& reward) const {
  if (heads_.empty()) return;
  const at::Tensor rows = reward.model.score_heads().cpu(), sums = rows.to(torch::kFloat64).sum(1);
  const std::int64_t num_scores = num_love_ + std::ssize(heads_);
  std::int64_t next_offset = num_scores;
  reward.also = heads_;
  for (AuxiliaryHead& head : reward.also) {
    if (head.thresholds.empty()) continue;
    const std::int64_t first = next_offset;
    next_offset += head.target.num_thresholds();
    const at::Tensor thresholds =
        rising_thresholds(torch::tensor(head.thresholds, torch::kFloat64), sums.slice(0, first, next_offset));
    head.thresholds.assign(thresholds.data_ptr<double>(), thresholds.data_ptr<double>() + thresholds.numel());
  }
  reward.model = reward.model.with_score_heads(rows.slice(0, 0, num_scores));
}

nlohmann::json AuxiliaryTraining::table() const {
  nlohmann::json table = nlohmann::json::array();
  for (std::size_t i = 0; i < heads_.size(); ++i)
    table.push_back({{"name", heads_[i].target.name},
                     {"training_rows", num_labels_[i]},
                     {"training_rows_without", num_trained_ - num_labels_[i]}});
  return table;
}

}  // namespace rluf
