#include "rluf/pipeline/reward/auxiliary.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/statistics/logistic.hpp"

namespace rluf {
namespace {

constexpr std::int64_t kFewestLevels = 3, kMostLevels = 100;

AuxiliaryTarget parse_target(const std::string& text) {
  const auto fail = [&](const std::string& why) {
    fail_input(concat("love.also = ", text), why, "write NAME, NAME:ordinal:LEVELS or NAME:regression");
  };
  const std::size_t colon = text.find(':');
  AuxiliaryTarget target{.name = text.substr(0, colon)};
  if (target.name.empty()) fail("it names nothing of the log");
  if (colon == std::string::npos) return target;
  const std::string kind = text.substr(colon + 1), ordinal = "ordinal:";
  if (kind == "regression") {
    target.kind = TargetKind::kRegression;
  } else if (kind.starts_with(ordinal)) {
    target.kind = TargetKind::kOrdinal;
    const char *first = kind.data() + ordinal.size(), *last = kind.data() + kind.size();
    const auto [end, error] = std::from_chars(first, last, target.levels);
    if (error != std::errc() || end != last) fail("the number of levels is no whole number");
    if (target.levels < kFewestLevels || target.levels > kMostLevels)
      fail(concat("an ordinal head has ", kFewestLevels, " to ", kMostLevels,
                  " levels (two are binary: leave the kind out)"));
  } else if (kind != "binary") {
    fail(concat("\"", kind, "\" is no kind of head"));
  }
  return target;
}

bool is_level(const AuxiliaryTarget& target, double value) {
  const double level = value - target.lowest_level();
  return level >= 0 && level < static_cast<double>(target.levels) && level == std::floor(level);
}

}  // namespace

const char* name_of(TargetKind kind) {
  return kind == TargetKind::kBinary ? "binary" : kind == TargetKind::kOrdinal ? "ordinal" : "regression";
}

std::vector<AuxiliaryTarget> parse_targets(const std::vector<std::string>& texts) {
  std::vector<AuxiliaryTarget> targets;
  std::set<std::string> names;
  for (const std::string& text : texts) {
    targets.push_back(parse_target(text));
    if (!names.insert(targets.back().name).second)
      fail_input(concat("love.also names ", targets.back().name, " twice"), "a head stands for each name",
                 "leave one out");
  }
  return targets;
}

double AuxiliaryHead::predicted(double raw) const {
  if (target.kind == TargetKind::kRegression) return center + scale * raw;
  double level = target.lowest_level();
  for (const double threshold : thresholds) level += logistic(raw - threshold);
  return level;
}

nlohmann::json AuxiliaryHead::to_json() const {
  nlohmann::json json{{"name", target.name}, {"kind", name_of(target.kind)}};
  if (target.kind == TargetKind::kRegression) {
    json["center"] = center;
    json["scale"] = scale;
  } else {
    json["levels"] = target.levels;
    json["thresholds"] = thresholds;
  }
  return json;
}

AuxiliaryHead AuxiliaryHead::from_json(const nlohmann::json& json) {
  AuxiliaryHead head{.target = {.name = json.at("name")}};
  const std::string kind = json.at("kind");
  if (kind == "regression") {
    head.target.kind = TargetKind::kRegression;
    head.center = json.at("center");
    head.scale = json.at("scale");
  } else {
    head.target.kind = kind == "ordinal" ? TargetKind::kOrdinal : TargetKind::kBinary;
    head.target.levels = json.at("levels");
    head.thresholds = json.at("thresholds").get<std::vector<double>>();
  }
  return head;
}

void check_values(const AuxiliaryTarget& target, const std::vector<double>& values) {
  if (target.kind == TargetKind::kRegression) return;
  for (const double value : values)
    if (!std::isnan(value) && !is_level(target, value))
      fail_data(concat(target.name, " is ", value, " in a row of the log"),
                concat("love.also learns it as ", name_of(target.kind), ", whose levels are ", target.lowest_level(),
                       " to ", target.lowest_level() + static_cast<double>(target.levels - 1)),
                concat("say what it is: ", target.name, ":ordinal:LEVELS or ", target.name, ":regression"));
}

AuxiliaryHead head_of_spread(const AuxiliaryTarget& target, const std::vector<double>& values) {
  check_values(target, values);
  std::vector<double> known;
  std::copy_if(values.begin(), values.end(), std::back_inserter(known), [](double x) { return !std::isnan(x); });
  if (known.empty())
    fail_data(concat("love.also: no training row has a value of ", target.name), "its head could learn nothing",
              "leave it out, or give a log that has it");
  const std::set<double> different(known.begin(), known.end());
  const std::size_t wanted = target.kind == TargetKind::kOrdinal ? kFewestLevels : 2;
  if (different.size() < wanted)
    fail_data(concat("love.also: ", target.name, " has ", different.size(), " different values in the training rows"),
              concat("a head that is ", name_of(target.kind), " learns from ", wanted, " or more"),
              target.kind == TargetKind::kOrdinal ? "learn it as binary or regression, or leave it out"
                                                  : "leave it out, or give more rows");
  AuxiliaryHead head{.target = target};
  const auto n = static_cast<double>(known.size());
  if (target.kind == TargetKind::kRegression) {
    head.center = std::accumulate(known.begin(), known.end(), 0.0) / n;
    double squares = 0;
    for (const double x : known) squares += (x - head.center) * (x - head.center);
    head.scale = std::sqrt(squares / n);
    return head;
  }
  std::vector<double> rows(static_cast<std::size_t>(target.levels), 0.5);
  for (const double x : known) rows[static_cast<std::size_t>(x - target.lowest_level())] += 1;
  const double all = std::accumulate(rows.begin(), rows.end(), 0.0);
  double below = 0;
  for (std::size_t level = 0; level + 1 < rows.size(); ++level) {
    below += rows[level];
    head.thresholds.push_back(std::log(below / (all - below)));
  }
  return head;
}

}  // namespace rluf
