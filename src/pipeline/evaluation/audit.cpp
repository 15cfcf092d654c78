#include "rluf/pipeline/evaluation/audit.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/reward/metrics.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;
using Statistic = std::function<double(const std::vector<double>& weights)>;

/// Weights count how often a row stands in a resample; NaN where a side is constant.
double weighted_pearson(const std::vector<double>& x, const std::vector<double>& y,
                        const std::vector<double>& weights) {
  double count = 0, mean_x = 0, mean_y = 0, xx = 0, xy = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    count += weights[i];
    mean_x += weights[i] * x[i];
    mean_y += weights[i] * y[i];
  }
  mean_x /= count;
  mean_y /= count;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += weights[i] * (x[i] - mean_x) * (x[i] - mean_x);
    xy += weights[i] * (x[i] - mean_x) * (y[i] - mean_y);
    yy += weights[i] * (y[i] - mean_y) * (y[i] - mean_y);
  }
  return xy / std::sqrt(xx * yy);
}

/// Of the rows that are members; NaN without any.
double member_mean(const std::vector<double>& values, const std::vector<bool>& members,
                   const std::vector<double>& weights) {
  double sum = 0, count = 0;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (members[i]) {
      sum += weights[i] * values[i];
      count += weights[i];
    }
  return sum / count;
}

AuditRows rows_of(const AuditRows& rows, const std::string& use_case) {
  AuditRows part;
  for (std::size_t i = 0; i < rows.love.size(); ++i) {
    if (rows.use_cases[i] != use_case) continue;
    part.love.push_back(rows.love[i]);
    if (!rows.helpfulness.empty()) part.helpfulness.push_back(rows.helpfulness[i]);
    if (!rows.safety.empty()) part.safety.push_back(rows.safety[i]);
    part.users.push_back(rows.users[i]);
  }
  return part;
}

Json correlations(const std::string& name, const AuditRows& rows, int replicates, std::uint64_t seed) {
  const Clusters users(rows.users);
  Json row{{"use_case", name}, {"examples", rows.love.size()}, {"users", users.count}};
  for (const auto& [other, scores] : {std::pair{"helpfulness", &rows.helpfulness}, {"safety", &rows.safety}})
    if (!scores->empty())
      row[concat("love_", other)] =
          bootstrap_interval(users.numbers, users.count, replicates, seed, [&](const std::vector<double>& weights) {
            return weighted_pearson(rows.love, *scores, weights);
          }).to_json();
  return row;
}

Json refusal_table(const AuditRows& rows, int replicates, std::uint64_t seed) {
  const Clusters users(rows.users);
  const auto interval = [&](const Statistic& statistic) {
    return bootstrap_interval(users.numbers, users.count, replicates, seed, statistic).to_json();
  };
  const std::vector<double>& love = rows.love_probability;
  std::vector<bool> others(rows.refuses);
  others.flip();
  Json table{{"refusals", std::count(rows.refuses.begin(), rows.refuses.end(), true)}};
  const auto mean = [&](const std::vector<bool>& members) {
    return interval([&](const std::vector<double>& weights) { return member_mean(love, members, weights); });
  };
  const auto difference = [&](const std::vector<bool>& members) {
    return interval([&](const std::vector<double>& weights) {
      return member_mean(love, members, weights) - member_mean(love, others, weights);
    });
  };
  table["mean_probability_of_refusals"] = mean(rows.refuses);
  table["mean_probability_of_others"] = mean(others);
  table["difference"] = difference(rows.refuses);
  if (rows.safety.empty()) return table;
  std::vector<double> ordered(rows.safety);
  std::nth_element(ordered.begin(), ordered.begin() + std::ssize(ordered) / 2, ordered.end());
  std::vector<bool> valid(rows.refuses);
  for (std::size_t i = 0; i < valid.size(); ++i) valid[i] = valid[i] && rows.safety[i] > ordered[ordered.size() / 2];
  table["valid_refusals"] = std::count(valid.begin(), valid.end(), true);
  table["mean_probability_of_valid_refusals"] = mean(valid);
  table["difference_of_valid_refusals"] = difference(valid);
  return table;
}

bool has_model(const std::string& name, const StageContext& context) {
  return std::filesystem::exists(context.directory.model(name) + "/config.json");
}

bool has_inputs(const StageContext& context) {
  return has_model("love", context) && (has_model("helpfulness", context) || has_model("safety", context)) &&
         std::filesystem::exists(context.directory.data("love.h5"));
}

/// Scores of the rows by a model of the run; empty without it. @collective
std::vector<double> scores_by(const std::string& name, const std::vector<Document>& documents,
                              const EvaluationOptions& options, const StageContext& context) {
  const std::string folder = context.directory.model(name);
  if (!has_model(name, context)) return {};
  std::optional<RewardModel> reward;
  guarded(context.grid.world,
          [&] { reward = RewardModel::load(folder, context.model, context.device, context.layout()); });
  return reward->scores(documents, options.micro_batch_tokens, context.grid.world, "audit " + name).raw;
}

void print_audit(const Json& table) {
  std::string text = concat("audit: P[Love] against the other models on ", table["examples"].dump(),
                            " held-out responses, correlations with 95 % intervals");
  for (const Json& row : table["correlations"]) {
    text += concat("\n  ", row["use_case"].get<std::string>(), " (", row["examples"].dump(), ")");
    for (const char* other : {"helpfulness", "safety"})
      if (row.contains(concat("love_", other)))
        text += concat("  ", other, " ", interval_text(row[concat("love_", other)], 1, 2));
  }
  const Json& refusals = table["refusals"];
  text += concat("\n  mean P[Love] of ", refusals["refusals"].dump(), " refusals ",
                 interval_text(refusals["mean_probability_of_refusals"], 100, 2), " %, of other responses ",
                 interval_text(refusals["mean_probability_of_others"], 100, 2), " %");
  if (refusals.contains("valid_refusals"))
    text += concat(", of ", refusals["valid_refusals"].dump(), " valid refusals ",
                   interval_text(refusals["mean_probability_of_valid_refusals"], 100, 2), " %");
  log_info(text);
}

}  // namespace

Json audit_table(const AuditRows& rows, std::int64_t bootstrap_replicates, std::uint64_t seed) {
  const auto replicates = static_cast<int>(bootstrap_replicates);
  Json list = Json::array({correlations("all", rows, replicates, seed)});
  for (const std::string& use_case : std::set<std::string>(rows.use_cases.begin(), rows.use_cases.end()))
    if (!use_case.empty()) list.push_back(correlations(use_case, rows_of(rows, use_case), replicates, seed));
  return {{"examples", rows.love.size()}, {"correlations", list}, {"refusals", refusal_table(rows, replicates, seed)}};
}

std::int64_t audit_memory_bytes(const EvaluationOptions& options, const StageContext& context) {
  if (options.audit_rows == 0 || !has_inputs(context)) return 0;
  std::int64_t most = 0;
  for (const char* name : {"love", "helpfulness", "safety"})
    if (has_model(name, context))
      most = std::max(most, text_memory_bytes(context.directory.model(name)) +
                                inference_memory_bytes(LlamaConfig::from_folder(context.directory.model(name)),
                                                       options.micro_batch_tokens));
  return most;
}

void run_audit(const EvaluationOptions& options, const AlarmOptions& alarms, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  if (options.audit_rows == 0) return;
  if (!has_inputs(context)) {
    log_info("audit: needs models/love, data/love.h5, and models/helpfulness or models/safety, so it is skipped");
    return;
  }
  const LabelledData held_out(context.directory.data("love.h5"), Split::kHoldout, comm);
  AuditRows rows;
  std::vector<Document> documents;
  std::optional<RewardModel> love;
  guarded(comm, [&] {
    love = RewardModel::load(context.directory.model("love"), context.model, context.device, context.layout());
    const std::vector<ResponseFacts> facts = held_out.facts();
    const std::vector<std::string> phrases = phrase_list(alarms.refusal_phrases);
    const std::int64_t all = held_out.documents().size(), count = std::min(options.audit_rows, all);
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t i = k * all / count;
      documents.push_back(held_out.documents().document(i));
      const Document& document = documents.back();
      const TokenIds response(document.tokens.begin() + document.response_start, document.tokens.end());
      rows.refuses.push_back(contains_any(normalized_text(love->text->tokenizer.decode(response)), phrases));
      rows.users.push_back(held_out.users()[static_cast<std::size_t>(i)]);
      rows.use_cases.push_back(facts[static_cast<std::size_t>(i)].use_case);
    }
  });
  rows.love = love->scores(documents, options.micro_batch_tokens, comm, "audit love").raw;
  for (const double raw : rows.love) rows.love_probability.push_back(calibrated_probability(raw, love->calibration));
  love.reset();
  rows.helpfulness = scores_by("helpfulness", documents, options, context);
  rows.safety = scores_by("safety", documents, options, context);
  const Json table = audit_table(rows, options.bootstrap_replicates, context.seed());
  print_audit(table);
  guarded(comm, [&] { context.directory.write_table("audit", table); });
}

}  // namespace rluf
