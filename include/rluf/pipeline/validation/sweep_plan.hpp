#pragma once
/// Which settings a sweep tries, for how many rounds, and which go on. Pure functions.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"

namespace rluf {

struct SweepOptions {
  std::string vary;             ///< "policy.kl_max: 5 10; policy.optimizer: crraft crpg"
  std::string method = "grid";  ///< or halving
  std::int64_t first_rounds = 0;
  double keep = 0.5;
  std::string points = "all";  ///< none, or the number of one
  void describe(OptionTable& table);
};

/// One value for each varied option. The name is that of its folder, the number from 1 and the values:
/// "2_kl_max_10".
struct SweepPoint {
  std::string name;
  std::vector<std::pair<std::string, std::string>> values;  ///< (section.key, value) in the order of `vary`
};

/// Every combination of the values, the last option's fastest; one point without values for an empty text.
/// @throws Error(kBadInput) for a text of another form, or an option or a value that stands there twice
std::vector<SweepPoint> sweep_points(const std::string& vary);

/// Rounds of each rung of successive halving, ascending and ending with `rounds`: each is the next one's times `keep`,
/// rounded up, and none is below `first` (0: a quarter of `rounds`). Jamieson and Talwalkar, arXiv 1502.07943.
/// @throws Error(kBadInput) if first is above rounds
std::vector<std::int64_t> rung_rounds(std::int64_t rounds, std::int64_t first, double keep);

/// The share `keep` of the policies of a recommend() table, at least one: first those that pass the guardrails, each by
/// its gain of love. @return positions in "policies", best first
std::vector<std::size_t> survivors(const nlohmann::json& recommendation, double keep);

}  // namespace rluf
