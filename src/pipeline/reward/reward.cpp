#include "rluf/pipeline/reward/reward.hpp"

#include <torch/torch.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "objective.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& metric) {
  if (!metric.contains("value") || metric["value"].is_null()) return "undefined";
  char text[80];
  if (metric.contains("low") && metric["low"].is_number()) {
    std::snprintf(text, sizeof text, "%.4g [%.4g, %.4g]", metric["value"].get<double>(), metric["low"].get<double>(),
                  metric["high"].get<double>());
  } else {
    std::snprintf(text, sizeof text, "%.4g", metric["value"].get<double>());
  }
  return text;
}

void print_metrics(const std::string& objective, const Json& metrics) {
  std::string text = objective + ": held-out metrics, 95 % intervals";
  for (const auto& [name, metric] : metrics.items())
    text +=
        concat("\n  ", name, std::string(std::max<std::size_t>(1, 34 - std::min<std::size_t>(33, name.size())), ' '),
               text_of(metric));
  log_info(text);
}

}  // namespace

at::Tensor heads_of(const Llama& model, const std::vector<TokenIds>& documents) {
  const PackedBatch batch = PackedBatch::from(documents, model.device());
  return model.scores(model.hidden(batch), batch);
}

HeadWeights head_weights(const std::vector<std::int64_t>& examples, std::int64_t num_heads, std::uint64_t seed,
                         at::Device device) {
  if (num_heads == 1) return {};
  std::vector<float> copies;
  for (const std::int64_t example : examples)
    for (std::int64_t head = 0; head < num_heads; ++head)
      copies.push_back(static_cast<float>(head_copies(seed, example, head)));
  return torch::tensor(copies, torch::kFloat32)
      .reshape({static_cast<std::int64_t>(examples.size()), num_heads})
      .to(device);
}

TrainedRows split_rows(std::vector<std::int64_t> order, bool with_window) {
  TrainedRows rows{std::move(order), {}};
  if (!with_window) return rows;
  const std::size_t first = rows.trained.size() - rows.trained.size() / 10;
  rows.fitted.assign(rows.trained.begin() + static_cast<std::ptrdiff_t>(first), rows.trained.end());
  rows.trained.resize(first);
  return rows;
}

std::vector<double> window_scores(RewardModel& reward, const std::vector<Document>& documents,
                                  const ObjectiveOptions& objective, const StageContext& context) {
  Calibration& calibration = reward.calibration;
  std::vector<double> raw = reward
                                .scores(documents, objective.train.micro_batch_tokens, context.grid.world,
                                        calibration.objective + " calibration")
                                .raw;
  if (objective.length_bias != "residual") return raw;
  const std::vector<double> tokens = response_tokens(documents);
  std::tie(calibration.length_slope, calibration.length_center) = length_line(raw, tokens);
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = without_length(raw[i], tokens[i], calibration);
  return raw;
}

RewardModel starting_reward(const std::string& name, const ObjectiveOptions& objective, const std::string& base,
                            const StageContext& context) {
  std::optional<RewardModel> reward;
  guarded(context.grid.world, [&] {
    reward.emplace(RewardModel{
        .model = Llama::load(base, context.device, objective.num_score_rows(), context.seed(), context.layout()),
        .text = load_model_text(base, context.model),
        .calibration = {.objective = name,
                        .kind = name == "love" ? "binary" : "pairwise",
                        .heads = objective.heads_score,
                        .lower_deviations = objective.heads_deviations}});
  });
  reward->model.set_compute_type(compute_type(context.model));
  return std::move(*reward);
}

void finish(const std::string& name, const ObjectiveOptions& objective, const RewardModel& reward, Json table,
            const std::map<std::string, double>& averages, const std::string& base, const StageContext& context) {
  const Calibration& calibration = reward.calibration;
  table["objective"] = name;
  table["base"] = base;
  table["final_training_metrics"] = averages;
  table["heads"] = {{"count", objective.heads}, {"score", objective.heads_score}};
  table["length"] = {
      {"bias", objective.length_bias}, {"slope", calibration.length_slope}, {"center", calibration.length_center}};
  print_metrics(name, table["metrics"]);
  for (const Json& head : table.value("also", Json::array()))
    print_metrics(
        concat(name, ", also ", head.at("name").get<std::string>(), " (", head.at("kind").get<std::string>(),
               "; rows with and without: ", head.at("training_rows"), " and ", head.at("training_rows_without"),
               " in training, ", head.at("held_out_rows"), " and ", head.at("held_out_rows_without"), " held out)"),
        head.at("metrics"));
  guarded(context.grid.world, [&] {
    reward.save(context.directory.model(name), context.model.save_dtype);
    context.directory.write_table("reward_" + name, table);
  });
}

void run_reward(const RewardOptions& options, const DataOptions&, const StageContext& context) {
  const auto wanted = [&](const std::string& name) {
    if (options.objective != "all" && options.objective != name) return false;
    if (std::filesystem::exists(context.directory.data(name + ".h5"))) return true;
    if (options.objective == name)
      fail_input(concat("there are no data for the objective ", name),
                 concat(context.directory.data(name + ".h5"), " is missing"),
                 "name its source in [data] and run the dataset stage");
    log_info(concat("reward: no data for ", name, ", skipped"));
    return false;
  };
  if (wanted("love")) train_love(options, context);
  if (wanted("helpfulness")) train_pairs("helpfulness", options.helpfulness, options, context);
  if (wanted("safety")) train_pairs("safety", options.safety, options, context);
}

}  // namespace rluf
