#include "rluf/pipeline/validation/sweep_plan.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <sstream>
#include <tuple>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/constraints/tasks.hpp"

namespace rluf {
namespace {

[[noreturn]] void fail_vary(const std::string& problem) {
  fail_input(concat("sweep.vary: ", problem), "the settings to try are read from it",
             "write it like policy.kl_max: 5 10; policy.optimizer: crraft crpg");
}

struct VariedOption {
  std::string name;
  std::vector<std::string> values;
};

std::vector<VariedOption> varied_options(const std::string& vary) {
  std::vector<VariedOption> options;
  std::istringstream stream(vary);
  for (std::string part; std::getline(stream, part, ';');) {
    if (part.find_first_not_of(" \t") == std::string::npos) continue;
    const std::size_t colon = part.find(':');
    VariedOption option;
    std::istringstream(part.substr(0, colon)) >> option.name;
    if (colon == std::string::npos) fail_vary(concat("after ", option.name, " a colon is missing"));
    std::istringstream values(part.substr(colon + 1));
    for (std::string value; values >> value;) option.values.push_back(value);
    if (option.values.empty()) fail_vary(option.name + " has no values");
    if (std::set<std::string>(option.values.begin(), option.values.end()).size() < option.values.size())
      fail_vary(option.name + " has a value twice");
    for (const VariedOption& other : options)
      if (other.name == option.name) fail_vary(option.name + " stands there twice");
    options.push_back(std::move(option));
  }
  return options;
}

/// What a folder may be called everywhere.
std::string folder_text(const std::string& text) {
  std::string name;
  for (const char c : text) name += std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? c : '_';
  return name;
}

/// Whether a word begins a new option: section.key=value.
bool begins_option(const std::string& word) {
  const std::size_t equals = word.find('='), dot = word.find('.');
  return equals != std::string::npos && dot < equals && word.find_first_of("/:,") > equals;
}

std::vector<SweepPoint> settings_of(const std::string& text) {
  const auto fail = [](const std::string& problem) {
    fail_input(concat("sweep.settings: ", problem), "the settings to try are read from it",
               "write it like plain: ; wary: policy.love_weights=0.1 alarms.action=stop");
  };
  std::vector<SweepPoint> points;
  for (const auto& [name, words] : parts_by_task(text, fail)) {
    SweepPoint point{concat("_", folder_text(name)), name, {}};
    std::istringstream stream(words);
    for (std::string word; stream >> word;) {
      if (begins_option(word)) {
        const std::string option = word.substr(0, word.find('='));
        if (point.value_of(option) != nullptr) fail(concat(option, " stands twice in ", name));
        point.values.emplace_back(option, word.substr(option.size() + 1));
      } else if (point.values.empty()) {
        fail(concat("\"", word, "\" of ", name, " is no section.key=value"));
      } else {
        point.values.back().second += concat(" ", word);
      }
    }
    points.push_back(std::move(point));
  }
  return points.empty() ? std::vector<SweepPoint>{{}} : points;
}

}  // namespace

void SweepOptions::describe(OptionTable& table) {
  table.section("sweep",
                "rluf sweep: policies with several settings, compared with the reference. The stages before the first "
                "setting that varies are done once.");
  table.add("settings", &settings,
            {.text = "points by name, each with options of its own, as in: plain: ; wary: policy.love_weights=0.1 "
                     "alarms.action=stop. A stage is done for a point alone if one of its options is of it",
             .allow_empty = true});
  table.add("vary", &vary,
            {.text = "options and their values, every combination of which is a point, as in: policy.kl_max: 5 10; "
                     "policy.optimizer: crraft crpg. Empty: policy.love_weights alone, which every point goes through. "
                     "With settings, each is tried with every "
                     "combination",
             .allow_empty = true});
  table.add("method", &method,
            {.text = "grid: every point for policy.rounds; halving: for few rounds first, and the better ones for more",
             .choices = {"grid", "halving"}});
  table.add("first_rounds", &first_rounds,
            {.text = "halving: rounds of the first rung, at least; 0: a quarter of policy.rounds",
             .unit = "rounds",
             .low = 0});
  table.add("keep", &keep,
            {.text = "halving: share of the policies that go on to the next rung, and its rounds the other way round",
             .low = 0.1,
             .high = 0.9});
  table.add("points", &points,
            {.text = "all; none: only the stages before them; a number from 1: that point alone, as in an array of "
                     "jobs between one with none and one with all, which makes the table"});
}

const std::string* SweepPoint::value_of(const std::string& option) const {
  for (const auto& [name, value] : values)
    if (name == option) return &value;
  return nullptr;
}

std::vector<SweepPoint> sweep_points(const std::string& settings, const std::string& vary) {
  std::vector<SweepPoint> points = settings_of(settings);
  for (const VariedOption& option : varied_options(vary)) {
    std::vector<SweepPoint> longer;
    for (const SweepPoint& point : points)
      for (const std::string& value : option.values) {
        if (point.value_of(option.name) != nullptr)
          fail_vary(concat(option.name, " is also in the setting ", point.setting));
        longer.push_back(point);
        longer.back().values.emplace_back(option.name, value);
        longer.back().name += folder_text(concat("_", option.name.substr(option.name.rfind('.') + 1), "_", value));
      }
    points = std::move(longer);
  }
  for (std::size_t i = 0; i < points.size(); ++i) points[i].name = concat(i + 1, points[i].name);
  return points;
}

nlohmann::json first_alarms(const nlohmann::json& looks) {
  nlohmann::json first = nlohmann::json::array();
  std::set<std::string> names;
  for (const nlohmann::json& look : looks)
    for (const nlohmann::json& alarm : look.at("alarms"))
      if (names.insert(alarm.at("name")).second)
        first.push_back({{"name", alarm.at("name")}, {"round", look.at("round")}, {"sentence", alarm.at("sentence")}});
  return first;
}

nlohmann::json held_out_figures(const nlohmann::json& validation, const std::string& arm) {
  nlohmann::json figures = nlohmann::json::object();
  for (const nlohmann::json& row : validation.at("arms")) {
    if (row.value("name", "") != arm) continue;
    for (const char* key : {"closing_rate", "love_probability", "helpfulness_reward", "true_love_rate",
                            "true_helpfulness", "true_safety"})
      if (row.contains(key)) figures[key] = row.at(key);
  }
  return figures;
}

std::vector<std::int64_t> rung_rounds(std::int64_t rounds, std::int64_t first, double keep) {
  if (first > rounds)
    fail_input(concat("sweep.first_rounds = ", first, " is above policy.rounds = ", rounds),
               "the first rung is to be a cheap one", "lower it, or raise policy.rounds");
  if (first == 0) first = (rounds + 3) / 4;
  std::vector<std::int64_t> rungs{rounds};
  for (;;) {
    const auto fewer = static_cast<std::int64_t>(std::ceil(keep * static_cast<double>(rungs.front())));
    if (fewer < first || fewer >= rungs.front()) return rungs;
    rungs.insert(rungs.begin(), fewer);
  }
}

std::vector<std::size_t> survivors(const nlohmann::json& recommendation, double keep) {
  const nlohmann::json& policies = recommendation.at("policies");
  std::vector<std::size_t> order(policies.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto rank = [&](std::size_t i) {
    const nlohmann::json& love = policies[i].at("love").at("value");
    return std::tuple(!policies[i].at("passes").get<bool>(),
                      love.is_number() ? -love.get<double>() : std::numeric_limits<double>::infinity());
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rank(a) < rank(b); });
  const double share = std::ceil(keep * static_cast<double>(order.size()) - 1e-9);
  order.resize(std::min(order.size(), std::max<std::size_t>(1, static_cast<std::size_t>(share))));
  return order;
}

}  // namespace rluf
