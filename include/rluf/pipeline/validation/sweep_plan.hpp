#pragma once
/// Which settings a sweep tries, for how many rounds, and which go on. Pure functions.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"

namespace rluf {

struct SweepOptions {
  std::string settings;         ///< "plain: ; wary: policy.love_weights=0.1 alarms.action=stop"
  std::string vary;             ///< "policy.kl_max: 5 10; policy.optimizer: crraft crpg"
  std::string method = "grid";  ///< or halving
  std::int64_t first_rounds = 0;
  double keep = 0.5;
  std::string points = "all";  ///< none, or the number of one
  void describe(OptionTable& table);
};

/// One value for each varied option. The name is that of its folder, the number from 1, the setting and the values that
/// vary: "2_wary_kl_max_10".
struct SweepPoint {
  std::string name, setting;
  std::vector<std::pair<std::string, std::string>> values;  ///< (section.key, value): of the setting, then of `vary`
  const std::string* value_of(const std::string& option) const;  ///< null if it does not set it
};

/// Every setting with every combination of the values, the last option's fastest; one point without values for empty
/// texts. In a setting, words that are no section.key=value go on with the value before them.
/// @throws Error(kBadInput) for a text of another form, or an option or a value that stands there twice
std::vector<SweepPoint> sweep_points(const std::string& settings, const std::string& vary);

/// Rounds of each rung of successive halving, ascending and ending with `rounds`: each is the next one's times `keep`,
/// rounded up, and none is below `first` (0: a quarter of `rounds`). Jamieson and Talwalkar, arXiv 1502.07943.
/// @throws Error(kBadInput) if first is above rounds
std::vector<std::int64_t> rung_rounds(std::int64_t rounds, std::int64_t first, double keep);

/// Of the looks of an alarms table: {"name", "round", "sentence"} of the first look at which each alarm rang.
nlohmann::json first_alarms(const nlohmann::json& looks);

/// What an arm of a validation table did, as far as it was measured on held-out prompts: closings, rewards, and in a
/// simulated world what is true.
nlohmann::json held_out_figures(const nlohmann::json& validation, const std::string& arm);

/// The share `keep` of the policies of a recommend() table, at least one: first those that pass the guardrails, each by
/// its gain of love. @return positions in "policies", best first
std::vector<std::size_t> survivors(const nlohmann::json& recommendation, double keep);

}  // namespace rluf
