#include "rluf/pipeline/reward/reward.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <optional>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/losses.hpp"
#include "rluf/pipeline/reward/metrics.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// First scalar head of each document. @shape [num_documents]
at::Tensor scores_of(const Llama& model, const std::vector<TokenIds>& documents) {
  const PackedBatch batch = PackedBatch::from(documents, model.device());
  return model.scores(model.hidden(batch), batch).select(1, 0);
}

at::Tensor tensor_of(const std::vector<float>& values, at::Device device) {
  return torch::tensor(values, torch::kFloat32).to(device);
}

std::vector<double> response_tokens(const DocumentStore& store) {
  std::vector<double> counts;
  for (std::size_t i = 0; i < store.num_tokens().size(); ++i)
    counts.push_back(static_cast<double>(store.num_tokens()[i] - store.response_starts()[i]));
  return counts;
}

/// Of all documents, read when their turn comes. @collective
std::vector<double> scores_of(const Llama& model, const DocumentStore& store, const ObjectiveOptions& objective,
                              const Communicator& data, const std::string& stage) {
  return score_documents(
      model, store.num_tokens(), [&](std::int64_t first, std::int64_t last) { return store.tokens(first, last); },
      objective.train.micro_batch_tokens, data, stage);
}

Json interval_of(const BinaryScores& scores, const RewardOptions& options, std::uint64_t seed,
                 const std::function<double(const BinaryScores&, const std::vector<double>&)>& metric) {
  return bootstrap_interval(scores.clusters, scores.num_clusters, static_cast<int>(options.bootstrap_replicates), seed,
                            [&](const std::vector<double>& weights) { return metric(scores, weights); })
      .to_json();
}

/// Correlation with an interval by resampling rows.
Json correlation_of(const std::vector<double>& x, const std::vector<double>& y, const RewardOptions& options,
                    std::uint64_t seed) {
  std::vector<double> replicates;
  for (std::int64_t replicate = 0; replicate < options.bootstrap_replicates; ++replicate) {
    RandomStream random(seed, Purpose::kBootstrap, static_cast<std::uint64_t>(replicate));
    std::vector<double> a, b;
    for (std::size_t draw = 0; draw < x.size(); ++draw) {
      const std::size_t i = random.below(x.size());
      a.push_back(x[i]);
      b.push_back(y[i]);
    }
    replicates.push_back(pearson(a, b));
  }
  return percentile_interval(pearson(x, y), std::move(replicates)).to_json();
}

/// log(1 + exp(x)) without overflow.
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

std::string text_of(const Json& metric) {
  if (!metric.contains("value") || metric["value"].is_null()) return "undefined";
  char text[80];
  if (metric.contains("low")) {
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

Json evaluate_love(const RewardModel& reward, const LabelledData& held_out, const RewardOptions& options,
                   const ObjectiveOptions& objective, const StageContext& context) {
  const auto raw = scores_of(reward.model, held_out.documents(), objective, context.grid.world, "love evaluation");
  const std::vector<double> lengths = response_tokens(held_out.documents());
  std::vector<double> labels(held_out.labels().begin(), held_out.labels().end()), corrected(raw);
  for (double& logit : corrected) logit = calibrated_logit(logit, reward.calibration);
  const BinaryScores before = BinaryScores::sorted(raw, labels, held_out.users()),
                     after = BinaryScores::sorted(corrected, labels, held_out.users());
  const std::uint64_t seed = context.seed();
  double positives = 0, mean_probability = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    positives += labels[i];
    mean_probability += calibrated_probability(raw[i], reward.calibration) / static_cast<double>(labels.size());
  }
  if (positives < 20)
    log_warning(concat("the hold-out has only ", positives,
                       " positives (its metrics are mostly noise): hold out more, or bring a larger log"));
  Json table{{"held_out_examples", labels.size()},
             {"held_out_positives", positives},
             {"held_out_users", after.num_clusters},
             {"held_out_rate", positives / static_cast<double>(labels.size())},
             {"mean_corrected_probability", mean_probability}};
  Json& metrics = table["metrics"];
  metrics["auroc"] = interval_of(after, options, seed, auroc);
  metrics["auprc"] = interval_of(after, options, seed, auprc);
  metrics["log_loss"] = interval_of(after, options, seed, log_loss);
  metrics["brier"] = interval_of(after, options, seed, brier);
  const auto ece10 = [](const BinaryScores& scores, const std::vector<double>& weights) {
    return ece(scores, weights, 10);
  };
  metrics["ece_raw"] = interval_of(before, options, seed, ece10);
  metrics["ece_corrected"] = interval_of(after, options, seed, ece10);
  metrics["calibration_intercept"] =
      interval_of(after, options, seed, [](const auto& s, const auto& w) { return calibration_line(s, w).first; });
  metrics["calibration_slope"] =
      interval_of(after, options, seed, [](const auto& s, const auto& w) { return calibration_line(s, w).second; });
  metrics["length_correlation"] = correlation_of(raw, lengths, options, seed);
  for (const ReliabilityBin& bin : reliability(after))
    table["reliability"].push_back(
        {{"mean_probability", bin.mean_probability}, {"rate", bin.rate}, {"count", bin.count}});
  return table;
}

Json evaluate_pairs(RewardModel& reward, const PairData& held_out, const RewardOptions& options,
                    const ObjectiveOptions& objective, const StageContext& context) {
  const std::string stage = reward.calibration.objective + " evaluation";
  const auto chosen = scores_of(reward.model, held_out.chosen(), objective, context.grid.world, stage),
             rejected = scores_of(reward.model, held_out.rejected(), objective, context.grid.world, stage);
  const std::vector<double> chosen_lengths = response_tokens(held_out.chosen()),
                            rejected_lengths = response_tokens(held_out.rejected());
  const std::size_t n = chosen.size();
  std::vector<double> score_difference, length_difference, scores(chosen), lengths(chosen_lengths);
  std::vector<std::int64_t> pairs;
  scores.insert(scores.end(), rejected.begin(), rejected.end());
  lengths.insert(lengths.end(), rejected_lengths.begin(), rejected_lengths.end());
  for (std::size_t i = 0; i < n; ++i) {
    score_difference.push_back(chosen[i] - rejected[i]);
    length_difference.push_back(chosen_lengths[i] - rejected_lengths[i]);
    pairs.push_back(static_cast<std::int64_t>(i));
  }
  // An average response of the hold-out gets the calibrated probability 0.5.
  reward.calibration.shift = -moments(scores).mean;
  const auto share_positive = [&](const std::vector<double>& differences) {
    return bootstrap_interval(pairs, static_cast<std::int64_t>(n), static_cast<int>(options.bootstrap_replicates),
                              context.seed(),
                              [&](const std::vector<double>& weights) {
                                double wins = 0, all = 0;
                                for (std::size_t i = 0; i < n; ++i) {
                                  wins += weights[i] * (differences[i] > 0 ? 1.0 : differences[i] == 0 ? 0.5 : 0.0);
                                  all += weights[i];
                                }
                                return wins / all;
                              })
        .to_json();
  };
  Json table{{"held_out_pairs", n}};
  table["metrics"]["pair_accuracy"] = share_positive(score_difference);
  table["metrics"]["pair_accuracy_of_length"] = share_positive(length_difference);
  table["metrics"]["log_loss"] = bootstrap_interval(pairs, static_cast<std::int64_t>(n),
                                                    static_cast<int>(options.bootstrap_replicates), context.seed(),
                                                    [&](const std::vector<double>& weights) {
                                                      double loss = 0, all = 0;
                                                      for (std::size_t i = 0; i < n; ++i) {
                                                        loss += weights[i] * softplus(-score_difference[i]);
                                                        all += weights[i];
                                                      }
                                                      return loss / all;
                                                    })
                                     .to_json();
  table["metrics"]["length_correlation"] = correlation_of(scores, lengths, options, context.seed());
  return table;
}

/// The objective's model before training: one scalar head on the starting model.
RewardModel starting_reward(const std::string& name, const StageContext& context, const std::string& base) {
  std::optional<RewardModel> reward;
  guarded(context.grid.world, [&] {
    reward.emplace(RewardModel{.model = Llama::load(base, context.device, 1, context.seed(), context.layout()),
                               .text = load_model_text(base, context.model),
                               .calibration = {.objective = name, .kind = name == "love" ? "binary" : "pairwise"}});
  });
  reward->model.set_compute_type(compute_type(context.model));
  return std::move(*reward);
}

void finish(const std::string& name, const RewardModel& reward, Json table,
            const std::map<std::string, double>& averages, const std::string& base, const StageContext& context) {
  table["objective"] = name;
  table["base"] = base;
  table["final_training_metrics"] = averages;
  print_metrics(name, table["metrics"]);
  guarded(context.grid.world, [&] {
    reward.save(context.directory.model(name), context.model.save_dtype);
    context.directory.write_table("reward_" + name, table);
  });
}

/// Rows of the training split in the order of time; the last tenth fits the temperature, if that is wanted.
struct LoveRows {
  std::vector<std::int64_t> trained, fitted;
};

LoveRows split_rows(const LabelledData& examples, bool with_temperature) {
  LoveRows rows;
  rows.trained.resize(examples.labels().size());
  std::iota(rows.trained.begin(), rows.trained.end(), std::int64_t{0});
  if (!with_temperature) return rows;
  const auto& time = examples.timestamps();
  std::stable_sort(rows.trained.begin(), rows.trained.end(), [&](std::int64_t a, std::int64_t b) {
    return time[static_cast<std::size_t>(a)] < time[static_cast<std::size_t>(b)];
  });
  const std::size_t first = rows.trained.size() - rows.trained.size() / 10;
  rows.fitted.assign(rows.trained.begin() + static_cast<std::ptrdiff_t>(first), rows.trained.end());
  rows.trained.resize(first);
  return rows;
}

/// Scale and shift by a logistic fit on rows that were not trained on. They stand at the raised rate, so the fit is one
/// of the raw logit, and the prior correction is added after it. @collective
void fit_temperature(RewardModel& reward, const LabelledData& examples, const std::vector<std::int64_t>& rows,
                     const ObjectiveOptions& objective, const StageContext& context) {
  std::vector<TokenIds> documents;
  std::vector<double> labels;
  for (const std::int64_t i : rows) {
    documents.push_back(examples.documents().document(i).tokens);
    labels.push_back(examples.labels()[static_cast<std::size_t>(i)]);
  }
  const auto raw = score_documents(reward.model, documents, objective.train.micro_batch_tokens, context.grid.world,
                                   "love temperature");
  const auto [intercept, slope] =
      calibration_line(BinaryScores::sorted(raw, labels, rows), std::vector<double>(rows.size(), 1.0));
  if (!(slope > 0)) {  // also undefined
    log_warning(concat("love: no temperature can be fitted on ", rows.size(),
                       " rows (one class, or scores that do not rise with the label): only the prior is corrected"));
    return;
  }
  Calibration& calibration = reward.calibration;
  calibration.scale = slope;
  calibration.shift = intercept + (1 - slope) * calibration.prior_correction;
}

void train_love(const RewardOptions& options, const StageContext& context) {
  const ObjectiveOptions& objective = options.love;
  const Communicator& comm = context.grid.world;
  const std::string base = starting_model(objective.base, context);
  RewardModel reward = starting_reward("love", context, base);
  const LabelledData examples(context.directory.data("love.h5"), Split::kTrain, comm),
      held_out(context.directory.data("love.h5"), Split::kHoldout, comm);
  const LoveRows rows = split_rows(examples, objective.calibrate == "temperature");
  std::vector<std::int64_t> num_tokens;
  for (const std::int64_t row : rows.trained)
    num_tokens.push_back(examples.documents().num_tokens()[static_cast<std::size_t>(row)]);
  const auto averages = train(
      reward.model,
      {.stage = "love",
       .num_tokens = num_tokens,
       .seed = context.seed(),
       .identity = {{"base", base}, {"examples", num_tokens.size()}, {"batch", objective.train.global_batch}}},
      objective.train,
      [&](const Llama& model, const std::vector<std::int64_t>& batch) {
        std::vector<TokenIds> documents;
        std::vector<float> labels;
        for (const std::int64_t position : batch) {
          const std::int64_t row = rows.trained[static_cast<std::size_t>(position)];
          documents.push_back(examples.documents().document(row).tokens);
          labels.push_back(examples.labels()[static_cast<std::size_t>(row)]);
        }
        return MicroLoss{binary_cross_entropy_sum(scores_of(model, documents), tensor_of(labels, model.device())), {}};
      },
      comm, context.directory);
  reward.calibration.prior_correction = examples.prior_correction();
  if (!rows.fitted.empty()) fit_temperature(reward, examples, rows.fitted, objective, context);
  Json table = evaluate_love(reward, held_out, options, objective, context);
  double positives = 0;
  for (const float label : examples.labels()) positives += label;
  table["training_examples"] = rows.trained.size();
  table["calibration"] = {{"kind", objective.calibrate},
                          {"fitted_examples", rows.fitted.size()},
                          {"scale", reward.calibration.scale},
                          {"shift", reward.calibration.shift}};
  table["training_rate"] = positives / static_cast<double>(examples.documents().size());
  table["prior_correction"] = reward.calibration.prior_correction;
  finish("love", reward, std::move(table), averages, base, context);
}

void train_pairs(const std::string& name, const ObjectiveOptions& objective, const RewardOptions& options,
                 const StageContext& context) {
  const Communicator& comm = context.grid.world;
  const std::string base = starting_model(objective.base, context), path = context.directory.data(name + ".h5");
  RewardModel reward = starting_reward(name, context, base);
  const PairData pairs(path, Split::kTrain, comm), held_out(path, Split::kHoldout, comm);
  std::vector<std::int64_t> num_tokens;
  for (std::size_t i = 0; i < static_cast<std::size_t>(pairs.chosen().size()); ++i)
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
        const at::Tensor scores = scores_of(model, documents), chosen = scores.slice(0, 0, count),
                         rejected = scores.slice(0, count);
        return MicroLoss{bradley_terry_sum(chosen, rejected, tensor_of(margins, model.device()), objective.centering),
                         {{"pair_accuracy", chosen.gt(rejected).sum().item<double>()}}};
      },
      comm, context.directory);
  Json table = evaluate_pairs(reward, held_out, options, objective, context);
  table["training_pairs"] = num_tokens.size();
  finish(name, reward, std::move(table), averages, base, context);
}

}  // namespace

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
