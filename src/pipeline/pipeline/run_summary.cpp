// rluf summary: several runs side by side, from their tables.
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/pipeline/run_status.hpp"
#include "rluf/pipeline/validation/recommendation.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

Json table_of(const std::string& run, const std::string& name) {
  const std::string path = run + "/tables/" + name + ".json";
  return fs::exists(path) ? read_json(path) : Json::object();
}

/// The member of nested objects; null where there is none.
Json at(const Json& object, const std::vector<std::string>& keys) {
  Json found = object;
  for (const std::string& key : keys) found = found.is_object() && found.contains(key) ? found.at(key) : Json();
  return found;
}

/// A figure {value, low, high} or a number; empty columns where the run has none.
std::string columns(const Json& figure) {
  const auto text = [](const Json& number) { return number.is_number() ? concat(number.get<double>()) : ""; };
  if (figure.is_object())
    return concat(text(at(figure, {"value"})), ",", text(at(figure, {"low"})), ",", text(at(figure, {"high"})));
  return text(figure) + ",,";
}

struct Measure {
  const char* name;
  bool online;  ///< of the A/B test, else of the held-out prompts
  const char* key;
};
constexpr Measure kMeasures[] = {{"ab_love_rate_lift", true, "love_rate_lift"},
                                 {"ab_expected_love_rate_lift", true, "expected_love_rate_lift"},
                                 {"ab_closing_rate_difference", true, "closing_rate_difference"},
                                 {"love_probability_lift", false, "love_probability_lift"},
                                 {"helpfulness_reward_change", false, "helpfulness_reward"},
                                 {"safety_reward_change", false, "safety_reward"}};

}  // namespace

void tool_summary(const std::vector<std::string>& operands) {
  if (operands.empty())
    fail_input("summary needs run directories", "it puts them side by side", "rluf summary runs/sweep/*");
  std::cout << "run,seed,policy,love_weight,measure,value,low,high\n";
  std::map<std::pair<std::string, std::string>, std::vector<double>> over_runs;  // (policy, measure): values
  for (const std::string& run : operands) {
    const Json about = table_of(run, "run"), validation = table_of(run, "validation");
    if (about.empty())
      fail_input(concat(run, " is no run directory"), "it has no tables/run.json", "name what run.directory was");
    const std::string start = concat(run, ",", at(about, {"seed"}).dump(), ",");
    for (const auto& [table, measure] : {std::pair{"reward_love", "auroc"}, {"reward_helpfulness", "pair_accuracy"}})
      if (const Json figure = at(table_of(run, table), {"metrics", measure}); !figure.is_null())
        std::cout << start << ",," << table << "_" << measure << "," << columns(figure) << '\n';
    if (const Json figure = at(table_of(run, "evaluation"), {"online", "pearson"}); !figure.is_null())
      std::cout << start << ",,offline_online_pearson," << columns(figure) << '\n';
    const Json arms = validation.value("arms", Json::array());
    const std::string base = control_of(arms);
    for (const Json& arm : arms) {
      const std::string name = arm.at("name");
      if (name == base || !at(arm, {"love_weight"}).is_number()) continue;
      for (const Measure& measure : kMeasures) {
        const Json rows = measure.online ? at(validation, {"ab", "comparisons"}) : at(validation, {"differences"});
        const Json figure = rows.is_array() ? at(comparison_of(rows, name, base), {measure.key}) : Json();
        if (figure.is_null()) continue;
        std::cout << start << name << "," << at(arm, {"love_weight"}).dump() << "," << measure.name << ","
                  << columns(figure) << '\n';
        if (const Json value = figure.is_object() ? at(figure, {"value"}) : figure; value.is_number())
          over_runs[{name, measure.name}].push_back(value);
      }
    }
  }
  // Over runs (seeds): the mean, and 95 % by their standard deviation, which holds what one run's interval leaves out.
  for (const auto& [key, values] : over_runs) {
    const auto n = static_cast<double>(values.size());
    if (n < 2) continue;
    double mean = 0, squares = 0;
    for (const double value : values) mean += value / n;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const double half = 1.96 * std::sqrt(squares / (n - 1) / n);
    std::cout << "mean of " << values.size() << ",," << key.first << ",," << key.second << "," << mean << ","
              << mean - half << "," << mean + half << '\n';
  }
  std::cout << std::flush;
}

}  // namespace rluf
