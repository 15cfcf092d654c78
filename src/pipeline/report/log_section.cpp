#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};
const NumberStyle kPoints{.scale = 100, .suffix = " points", .sign = true};

/// A figure, or why there is none.
std::string figure_or_reason(const Json& figure, const NumberStyle& style) {
  return figure.is_object() && figure.contains("reason") ? "none: " + figure["reason"].get<std::string>()
                                                         : figure_text(figure, style);
}

std::string place_text(const Json& row) {
  if (!row.contains("place")) return "-";
  return figure_text(row["place"]) + " [" + figure_text(row["place_low"]) + ", " + figure_text(row["place_high"]) + "]";
}

}  // namespace

std::string log_part(const Json& evaluation) {
  if (!evaluation.contains("log") || !evaluation["log"].is_object()) return "";
  const Json& log = evaluation["log"];
  const std::string reference = log.at("reference");
  std::vector<std::vector<std::string>> values, weights;
  for (const Json& row : list_of(log, "policies")) {
    const Json& figures = row.at("estimators");
    std::vector<std::string> cells{row.at("name"), place_text(row)};
    for (const char* name : {"dm", "ips", "snips", "dr", "switch", "switch_dr", "ppi"})
      cells.push_back(figure_or_reason(figures.at(name), kPercent));
    const Json differences = row.at("differences");
    const char* best = log.at("direct_model").get<bool>() ? "dr" : "snips";
    cells.push_back(differences.is_object() ? figure_or_reason(differences.at(best), kPoints) : "-");
    values.push_back(cells);
    weights.push_back({row.at("name"), figure_text(row.at("responses")), figure_text(row.at("hearts")),
                       figure_text(row.at("effective_responses")), figure_text(row.at("largest_weight")),
                       figure_text(row.at("largest_weight_share"), kPercent),
                       figure_text(row.at("unsupported"), kPercent),
                       figure_text(row.at("switch_model_share"), kPercent)});
  }
  std::string html = "<h3>Arms and policies, valued from the log</h3>\n<p>" + figure_text(log.at("observed")) +
                     " responses of " + figure_text(log.at("users")) + " users by " + figure_text(log.at("arms")) +
                     " arms in " + figure_text(log.at("days")) +
                     " days. DM is the love model's word, IPS and SNIPS weigh what users did by the "
                     "share of traffic, DR joins both, SWITCH and SWITCH-DR take the model's word where weights are "
                     "large, PPI adds what the model says of responses whose signal is not "
                     "known. Intervals: " +
                     html_escaped(log.at("interval").get<std::string>()) +
                     ". Differences and places are paired; the reference is " + html_escaped(reference) + ".</p>\n" +
                     html_table({"arm or policy", "place", "DM", "IPS", "SNIPS", "DR", "SWITCH", "SWITCH-DR", "PPI",
                                 "difference to the reference"},
                                values) +
                     html_table({"arm or policy", "responses", "hearts", "effective responses", "largest weight",
                                 "its share", "traffic never served", "left to the model by SWITCH"},
                                weights);
  if (evaluation.contains("log_gate")) {
    std::vector<std::vector<std::string>> rows;
    for (const Json& row : list_of(evaluation["log_gate"], "candidates"))
      rows.push_back({row.at("name"), row.at("passes").get<bool>() ? "passes" : "does not pass", row.at("reason")});
    html += "<h3>Gate for the policies</h3>\n" + html_table({"policy", "verdict", "why"}, rows);
  }
  return html;
}

}  // namespace rluf
