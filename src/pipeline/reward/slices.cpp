#include "rluf/pipeline/reward/slices.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/reward/metrics.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxUseCases = 12;
constexpr double kFewestPositives = 5;  ///< with fewer, resamples hardly differ, and an interval would look certain

/// Cuts rows in the order of `value` into equal parts; equal values stay together. @shape value [n] -> [n] part of row
std::vector<std::size_t> parts_by(const std::vector<double>& value, std::size_t num_parts) {
  std::vector<std::size_t> order(value.size()), part(value.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return value[a] < value[b]; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool is_tied = i > 0 && value[order[i]] == value[order[i - 1]];
    part[order[i]] = is_tied ? part[order[i - 1]] : i * num_parts / order.size();
  }
  return part;
}

/// Slices of one kind in the order of their names, from the name of each row.
void add_slices(std::vector<Slice>& slices, const std::string& by, std::size_t num_rows,
                const std::function<std::string(std::size_t)>& name_of) {
  std::map<std::string, std::vector<std::size_t>> named;
  for (std::size_t i = 0; i < num_rows; ++i) named[name_of(i)].push_back(i);
  for (auto& [name, rows] : named) slices.push_back({by, name, std::move(rows)});
}

/// Names of the use cases that get a slice of their own.
std::vector<std::string> large_use_cases(const std::vector<ResponseFacts>& facts) {
  std::map<std::string, std::size_t> counts;
  for (const ResponseFacts& fact : facts) ++counts[fact.use_case];
  std::vector<std::pair<std::size_t, std::string>> by_count;
  for (const auto& [name, count] : counts) by_count.emplace_back(count, name);
  std::stable_sort(by_count.begin(), by_count.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(kMaxUseCases, by_count.size()); ++i) names.push_back(by_count[i].second);
  return names;
}

BinaryScores scores_of(const HeldOutRows& rows, const std::vector<std::size_t>& of) {
  std::vector<double> logits, labels;
  std::vector<std::int64_t> users;
  for (const std::size_t i : of) {
    logits.push_back(rows.logits[i]);
    labels.push_back(rows.labels[i]);
    users.push_back(rows.users[i]);
  }
  return BinaryScores::sorted(logits, labels, users);
}

double observed_to_expected(const BinaryScores& scores, const std::vector<double>& weights) {
  double observed = 0, expected = 0;
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    observed += weights[i] * scores.labels[i];
    expected += weights[i] * logistic(scores.logits[i]);
  }
  return observed / expected;
}

Json interval_of(const BinaryScores& scores, const SliceBootstrap& bootstrap, const BinaryMetric& metric) {
  return metric_interval(scores, bootstrap.num_replicates, bootstrap.seed, metric).to_json();
}

}  // namespace

std::vector<Slice> slices_of(const HeldOutRows& rows, const std::vector<ResponseFacts>& facts) {
  const std::size_t n = rows.logits.size();
  RLUF_ASSERT(facts.size() == n);
  std::vector<Slice> slices;
  const std::vector<std::string> large = large_use_cases(facts);
  add_slices(slices, "use_case", n, [&](std::size_t i) -> std::string {
    if (std::find(large.begin(), large.end(), facts[i].use_case) == large.end()) return "all others";
    return facts[i].use_case.empty() ? "not named" : facts[i].use_case;
  });
  add_slices(slices, "position", n, [&](std::size_t i) {
    const std::int64_t position = facts[i].position;
    return std::string(position == 1 ? "first response" : position <= 3 ? "second or third" : "fourth or later");
  });
  const std::vector<std::size_t> third = parts_by(rows.tokens, 3);
  add_slices(slices, "length", n, [&](std::size_t i) {
    return std::array<std::string, 3>{"1 short third", "2 middle third", "3 long third"}[third[i]];
  });
  const std::vector<std::size_t> quarter =
      parts_by(std::vector<double>(rows.timestamps.begin(), rows.timestamps.end()), 4);
  add_slices(slices, "time", n, [&](std::size_t i) { return concat("quarter ", quarter[i] + 1); });
  std::map<std::string, std::vector<std::size_t>> with;
  for (std::size_t i = 0; i < n; ++i) {
    for (const std::string& signal : facts[i].signals) with["with " + signal].push_back(i);
    if (facts[i].signals.empty()) with["none"].push_back(i);
  }
  for (auto& [name, of] : with) slices.push_back({"signal", name, std::move(of)});
  return slices;
}

Json slice_row(const HeldOutRows& rows, const Slice& slice, const SliceBootstrap& bootstrap) {
  const BinaryScores scores = scores_of(rows, slice.rows);
  const double count = static_cast<double>(slice.rows.size());
  double positives = 0, probability = 0;
  for (std::size_t i = 0; i < scores.logits.size(); ++i) {
    positives += scores.labels[i];
    probability += logistic(scores.logits[i]);
  }
  const auto figure = [&](const BinaryMetric& metric) -> Json {
    if (positives >= kFewestPositives) return interval_of(scores, bootstrap, metric);
    const double value = metric(scores, std::vector<double>(scores.logits.size(), 1.0));
    return {{"value", number_or_null(value)}, {"reason", concat("fewer than ", kFewestPositives, " positives")}};
  };
  Json bins = Json::array();
  for (const ReliabilityBin& bin : reliability(scores, 5))
    bins.push_back({{"mean_probability", bin.mean_probability}, {"rate", bin.rate}, {"count", bin.count}});
  return {{"by", slice.by},
          {"slice", slice.name},
          {"examples", slice.rows.size()},
          {"users", scores.num_clusters},
          {"positives", positives},
          {"rate", positives / count},
          {"mean_probability", probability / count},
          {"auroc", figure(auroc)},
          {"ece", figure([](const auto& s, const auto& w) { return ece(s, w, 5); })},
          {"observed_to_expected", figure(observed_to_expected)},
          {"reliability", bins}};
}

Json drift(const HeldOutRows& rows, const SliceBootstrap& bootstrap) {
  const std::vector<std::size_t> half =
      parts_by(std::vector<double>(rows.timestamps.begin(), rows.timestamps.end()), 2);
  // A cluster is a user in both halves: the halves share a resample. Whether a row is late follows from its place.
  std::vector<std::size_t> order(half.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return rows.logits[a] < rows.logits[b] || (rows.logits[a] == rows.logits[b] && a < b);
  });
  const BinaryScores scores = BinaryScores::sorted(rows.logits, rows.labels, rows.users);
  const auto change_of = [&](const BinaryMetric& metric) {
    return interval_of(scores, bootstrap, [&](const BinaryScores& all, const std::vector<double>& weights) {
      std::vector<double> early(weights), late(weights);
      for (std::size_t i = 0; i < order.size(); ++i) (half[order[i]] == 0 ? late : early)[i] = 0;
      return metric(all, late) - metric(all, early);
    });
  };
  return {
      {"auroc_change", change_of(auroc)},
      {"log_observed_to_expected_change", change_of([](const BinaryScores& all, const std::vector<double>& weights) {
         return std::log(observed_to_expected(all, weights));
       })}};
}

}  // namespace rluf
