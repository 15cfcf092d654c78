#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "rluf/pipeline/validation/recommendation.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;
using Row = std::vector<std::string>;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};
const NumberStyle kPercentChange{.scale = 100, .suffix = " %", .sign = true};
const NumberStyle kChange{.scale = 1, .suffix = "", .sign = true};

/// What the interval of a change allows to say.
std::string direction_of(const Json& change) {
  if (!change.is_object() || !change.contains("low") || !change["low"].is_number()) return "cannot be told";
  if (change["low"].get<double>() > 0) return "up";
  if (change["high"].get<double>() < 0) return "down";
  return "no change seen (the interval holds 0)";
}

Json arm_of(const Json& rows, const std::string& name) {
  for (const Json& row : rows)
    if (row.value("name", "") == name) return row;
  return nullptr;
}

void add_row(std::vector<Row>& rows, const std::string& finding, const std::string& paper, const Json& object,
             const std::string& key, const NumberStyle& style, const std::string& before = "") {
  if (!object.is_object() || !object.contains(key)) return;
  rows.push_back({finding, paper, before + figure_text(object[key], style), direction_of(object[key])});
}

void add_policy_rows(const Json& table, std::vector<Row>& rows) {
  const Json held_out = list_of(table, "arms");
  const bool with_ab = table.at("ab").is_object();
  const Json arms = with_ab ? list_of(table["ab"], "arms") : held_out;
  const std::string base = control_of(arms);
  NumberStyle points = kPercentChange;
  points.suffix = " points";
  for (const Json& arm : arms) {
    const std::string name = arm.at("name");
    if (!arm.at("love_weight").is_number() || name == base) continue;
    const double weight = arm["love_weight"];
    const bool moderate = std::abs(weight - 0.1) < 1e-9, aggressive = std::abs(weight - 0.3) < 1e-9;
    const std::string with = concat(" with love weight ", weight), none = "not published";
    const Json offline = comparison_of(list_of(table, "differences"), name, base);
    const Json online = with_ab ? comparison_of(list_of(table["ab"], "comparisons"), name, base) : Json();
    add_row(rows, "love per response in the A/B test" + with,
            moderate     ? "+9.73 %"
            : aggressive ? "+28 %"
                         : none,
            online, "love_rate_lift", kPercentChange);
    add_row(rows, "the same by the users' chances" + with, "", online, "expected_love_rate_lift", kPercentChange);
    add_row(rows, "true love rate on held-out prompts, every user asked" + with, "", offline, "true_love_rate_lift",
            kPercentChange);
    add_row(rows, "mean P[Love] on held-out prompts" + with, none, offline, "love_probability_lift", kPercentChange);
    const Json closings = arm_of(arms, name), base_closings = arm_of(arms, base);
    const std::string rates =
        figure_text(base_closings.value("closing_rate", Json()).value("value", Json()), kPercent) + " \u2192 " +
        figure_text(closings.value("closing_rate", Json()).value("value", Json()), kPercent) + ", ";
    add_row(rows, "responses with a closing phrase" + with, aggressive ? "0.72 % \u2192 2.8 % (\"bye\")" : none,
            with_ab ? online : offline, with_ab ? "closing_rate_difference" : "closing_rate", points, rates);
    add_row(rows, "helpfulness reward on held-out prompts" + with, "maintained", offline, "helpfulness_reward",
            kChange);
    add_row(rows, "safety reward on held-out prompts" + with, "maintained", offline, "safety_reward", kChange);
    add_row(rows, "true helpfulness on held-out prompts" + with, "maintained", offline, "true_helpfulness", kChange);
    add_row(rows, "true safety on held-out prompts" + with, "maintained", offline, "true_safety", kChange);
  }
}

}  // namespace

std::string summary_section(const RunDirectory& directory) {
  std::vector<Row> rows;
  std::string base = "the policy without the love objective";
  if (directory.has_table("validation")) {
    const Json table = directory.read_table("validation");
    add_policy_rows(table, rows);
    base = control_of(table["ab"].is_object() ? list_of(table["ab"], "arms") : list_of(table, "arms"));
  }
  if (directory.has_table("reward_love")) {
    const Json metrics = directory.read_table("reward_love").at("metrics");
    rows.push_back({"P[Love] tells loved responses from others: held-out AUROC", "0.85",
                    figure_text(metrics.at("auroc")), "0.5 is chance"});
    rows.push_back({"P[Love] follows the length of a response: correlation", "0.10",
                    figure_text(metrics.at("length_correlation")), "0 is none"});
  }
  if (directory.has_table("evaluation")) {
    const Json online = directory.read_table("evaluation").value("online", Json());
    if (online.is_object())
      rows.push_back({"offline score foretells the online love rate: Pearson r over " + figure_text(online.at("n")) +
                          " candidates",
                      "0.95 over 10 model versions", figure_text(online.at("pearson")),
                      direction_of(online.at("pearson")) == "up"     ? "they agree"
                      : direction_of(online.at("pearson")) == "down" ? "they disagree"
                                                                     : "cannot be told"});
  }
  if (rows.empty()) return "<p class=\"missing\">No stage has been run yet.</p>\n";
  return "<p>Changes are against " + html_escaped(base) +
         ". A finding counts as seen only where the whole interval lies on one side of 0.</p>\n" +
         html_table({"finding", "the paper", "this run", "so"}, rows);
}

}  // namespace rluf
