#include <algorithm>
#include <cmath>
#include <functional>

#include "objective.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/core/random.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/parallel/run_control.hpp"
#include "rluf/pipeline/dataset/selection.hpp"
#include "rluf/pipeline/reward/metrics.hpp"
#include "rluf/pipeline/reward/slices.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

Json interval_of(const BinaryScores& scores, const RewardOptions& options, std::uint64_t seed,
                 const BinaryMetric& metric) {
  return metric_interval(scores, static_cast<int>(options.bootstrap_replicates), seed, metric).to_json();
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

/// A figure of the table, and the resampling that makes it.
struct Figure {
  std::string name;
  std::function<Json()> compute;
};

/// Computes figure i on rank i mod size: resampling a large hold-out takes minutes. @return on all ranks, in order
/// @collective @throws Error(kStopped) after a stop signal
std::vector<Json> compute_figures(const std::vector<Figure>& figures, const std::string& stage,
                                  const Communicator& comm) {
  const auto size = static_cast<std::size_t>(comm.size()), rank = static_cast<std::size_t>(comm.rank());
  std::vector<Json> results(figures.size());
  Progress progress(stage, "figures", static_cast<long>(figures.size()));
  guarded(comm, [&] {
    for (std::size_t i = rank; i < figures.size(); i += size) {
      stop_here_if_requested(stage);
      results[i] = figures[i].compute();
      progress.update(static_cast<long>(std::min(figures.size(), i + size)), figures[i].name);
    }
  });
  for (std::size_t i = 0; i < figures.size(); ++i)
    results[i] = Json::parse(comm.broadcast(results[i].dump(), static_cast<int>(i % size)));
  return results;
}

double ece10(const BinaryScores& scores, const std::vector<double>& weights) { return ece(scores, weights, 10); }

/// Rows of the hold-out that have a label of a head.
struct LabelledRows {
  Predictions values;
  std::vector<std::int64_t> users;
};

/// Figures of a head, in the order of their names. `rows` must stay.
std::vector<Figure> figures_of(const AuxiliaryHead& head, const LabelledRows& rows, const RewardOptions& options,
                               std::uint64_t seed) {
  if (head.target.kind == TargetKind::kBinary) {
    std::vector<double> logits;
    for (const double p : rows.values.predicted) logits.push_back(log_odds(p));
    const BinaryScores scores = BinaryScores::sorted(logits, rows.values.truth, rows.users);
    return {{"auroc", [=, &options] { return interval_of(scores, options, seed, auroc); }},
            {"log_loss", [=, &options] { return interval_of(scores, options, seed, log_loss); }}};
  }
  const bool is_ordinal = head.target.kind == TargetKind::kOrdinal;
  Predictions levels = rows.values;
  for (double& level : levels.predicted) level = std::round(level);
  const Clusters clusters(rows.users);
  const auto figure = [&](const char* name, const Predictions& values, const auto& metric) {
    return Figure{name, [=, &options] {
                    return bootstrap_interval(
                               clusters.numbers, clusters.count, static_cast<int>(options.bootstrap_replicates), seed,
                               [&](const std::vector<double>& weights) { return metric(values, weights); })
                        .to_json();
                  }};
  };
  if (is_ordinal)
    return {figure("quadratic_kappa", levels, quadratic_kappa),
            figure("mean_absolute_error", rows.values, mean_absolute_error)};
  return {figure("rank_correlation", rows.values, rank_correlation), figure("r_squared", rows.values, r_squared)};
}

/// Adds to each head's object what it is and how good it is on the rows that have its label. @collective
void measure_also(const RewardModel& reward, const RewardScores& scores, const LabelledData& held_out,
                  const RewardOptions& options, const StageContext& context, Json& table) {
  std::vector<Figure> figures;
  std::vector<std::size_t> heads;
  guarded(context.grid.world, [&] {
    const auto numbers = held_out.numbers();
    for (std::size_t i = 0; i < reward.also.size(); ++i) {
      const AuxiliaryHead& head = reward.also[i];
      LabelledRows rows;
      if (const auto found = numbers.find(head.target.name); found != numbers.end()) {
        check_values(head.target, found->second);
        for (std::size_t row = 0; row < found->second.size(); ++row) {
          if (std::isnan(found->second[row])) continue;
          rows.values.predicted.push_back(scores.also[i][row]);
          rows.values.truth.push_back(found->second[row]);
          rows.users.push_back(held_out.users()[row]);
        }
      }
      const std::size_t known = rows.users.size();
      table[i].update(head.to_json());
      table[i]["held_out_rows"] = known;
      table[i]["held_out_rows_without"] = held_out.labels().size() - known;
      if (known == 0) log_warning(concat("love.also: no held-out row has a value of ", head.target.name));
      for (Figure& figure : figures_of(head, rows, options, context.seed())) {
        figures.push_back(std::move(figure));
        heads.push_back(i);
      }
    }
  });
  const std::vector<Json> results = compute_figures(figures, "figures of other heads", context.grid.world);
  for (std::size_t i = 0; i < figures.size(); ++i) table[heads[i]]["metrics"][figures[i].name] = results[i];
}

}  // namespace

Json measure_love(const RewardModel& reward, const LabelledData& held_out, const RewardOptions& options,
                  const StageContext& context, Json also) {
  const RewardScores scores =
      reward.scores(held_out.documents(), options.love.train.micro_batch_tokens, context.grid.world, "love evaluation");
  const std::vector<double>& raw = scores.raw;
  const std::vector<double> lengths = response_tokens(held_out.documents());
  const std::uint64_t seed = context.seed();
  std::vector<double> labels(held_out.labels().begin(), held_out.labels().end()), prior(raw), calibrated(raw);
  double positives = 0, mean_probability = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    prior[i] += reward.calibration.prior_correction;
    calibrated[i] = calibrated_logit(raw[i], reward.calibration);
    positives += labels[i];
    mean_probability += calibrated_probability(raw[i], reward.calibration) / static_cast<double>(labels.size());
  }
  const BinaryScores before = BinaryScores::sorted(raw, labels, held_out.users()),
                     by_prior = BinaryScores::sorted(prior, labels, held_out.users()),
                     after = BinaryScores::sorted(calibrated, labels, held_out.users());
  if (positives < 20)
    log_warning(concat("the hold-out has only ", positives,
                       " positives (its metrics are mostly noise): hold out more, or bring a larger log"));
  Json table{{"held_out_examples", labels.size()},
             {"held_out_positives", positives},
             {"held_out_users", after.num_clusters},
             {"held_out_rate", positives / static_cast<double>(labels.size())},
             {"mean_corrected_probability", mean_probability}};
  const HeldOutRows rows{calibrated, labels, held_out.users(), held_out.timestamps(), lengths};
  const std::vector<Slice> slices = slices_of(rows, held_out.facts());
  const SliceBootstrap bootstrap{static_cast<int>(options.bootstrap_replicates), seed};
  std::vector<Figure> figures;
  const auto add = [&](const std::string& name, const BinaryScores& of, const BinaryMetric& metric) {
    figures.push_back({name, [&, metric] { return interval_of(of, options, seed, metric); }});
  };
  add("auroc", after, auroc);
  add("auprc", after, auprc);
  add("log_loss", after, log_loss);
  add("brier", after, brier);
  add("brier_raw", before, brier);
  add("ece_raw", before, ece10);
  add("ece_prior", by_prior, ece10);
  add("ece_corrected", after, ece10);
  add("calibration_intercept", after, [](const auto& s, const auto& w) { return calibration_line(s, w).first; });
  add("calibration_slope", after, [](const auto& s, const auto& w) { return calibration_line(s, w).second; });
  figures.push_back({"length_correlation", [&] { return correlation_of(raw, lengths, options, seed); }});
  const std::size_t num_metrics = figures.size();
  for (const Slice& slice : slices)
    figures.push_back({slice.by + " " + slice.name, [&] { return slice_row(rows, slice, bootstrap); }});
  figures.push_back({"drift", [&] { return drift(rows, bootstrap); }});
  const std::vector<Json> results = compute_figures(figures, "love figures", context.grid.world);
  Json& metrics = table["metrics"];
  for (std::size_t i = 0; i < num_metrics; ++i) metrics[figures[i].name] = results[i];
  table["slices"] =
      Json(std::vector<Json>(results.begin() + static_cast<std::ptrdiff_t>(num_metrics), results.end() - 1));
  table["drift"] = results.back();
  if (!scores.disagreement.empty()) metrics["mean_disagreement"] = {{"value", moments(scores.disagreement).mean}};
  if (!reward.also.empty()) {
    measure_also(reward, scores, held_out, options, context, also);
    table["also"] = std::move(also);
  }
  for (const ReliabilityBin& bin : reliability(after))
    table["reliability"].push_back(
        {{"mean_probability", bin.mean_probability}, {"rate", bin.rate}, {"count", bin.count}});
  return table;
}

Json measure_pairs(RewardModel& reward, const PairData& held_out, const RewardOptions& options,
                   const ObjectiveOptions& objective, const StageContext& context) {
  const std::string stage = reward.calibration.objective + " evaluation";
  const std::int64_t micro_batch_tokens = objective.train.micro_batch_tokens;
  const RewardScores of_chosen = reward.scores(held_out.chosen(), micro_batch_tokens, context.grid.world, stage),
                     of_rejected = reward.scores(held_out.rejected(), micro_batch_tokens, context.grid.world, stage);
  const std::vector<double>&chosen = of_chosen.raw, &rejected = of_rejected.raw;
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
  reward.calibration.shift = -moments(scores).mean;
  const auto mean_of = [&](const std::function<double(std::size_t)>& term) {
    return bootstrap_interval(pairs, static_cast<std::int64_t>(n), static_cast<int>(options.bootstrap_replicates),
                              context.seed(),
                              [&](const std::vector<double>& weights) {
                                double sum = 0, all = 0;
                                for (std::size_t i = 0; i < n; ++i) {
                                  sum += weights[i] * term(i);
                                  all += weights[i];
                                }
                                return sum / all;
                              })
        .to_json();
  };
  const auto share_positive = [&](const std::vector<double>& differences) {
    return mean_of([&](std::size_t i) { return differences[i] > 0 ? 1.0 : differences[i] == 0 ? 0.5 : 0.0; });
  };
  Json table{{"held_out_pairs", n}};
  Json& metrics = table["metrics"];
  metrics["pair_accuracy"] = share_positive(score_difference);
  metrics["pair_accuracy_of_length"] = share_positive(length_difference);
  metrics["log_loss"] = mean_of([&](std::size_t i) { return softplus(-score_difference[i]); });
  metrics["length_correlation"] = correlation_of(scores, lengths, options, context.seed());
  if (!of_chosen.disagreement.empty())
    metrics["mean_disagreement"] = {
        {"value", 0.5 * (moments(of_chosen.disagreement).mean + moments(of_rejected.disagreement).mean)}};
  return table;
}

}  // namespace rluf
