#include <algorithm>
#include <filesystem>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};
constexpr std::size_t kMostPhrases = 12;

/// Sentences of a look with their examples.
std::string alarms_list(const Json& look) {
  std::string html;
  for (const Json& alarm : list_of(look, "alarms")) {
    html += "<p><strong>Alarm:</strong> " + html_escaped(alarm.at("sentence").get<std::string>()) + ".</p>\n<ul>";
    for (const Json& example : list_of(alarm, "examples"))
      html += "<li>" + html_escaped(example.get<std::string>()) + "</li>";
    html += "</ul>\n";
  }
  return html;
}

std::string phrases_table(const Json& look) {
  Json rows = list_of(look, "phrases");
  if (rows.empty()) return "<p>No phrase rose beyond chance.</p>\n";
  const std::size_t total = rows.size();
  if (total > kMostPhrases) rows.erase(rows.begin() + kMostPhrases, rows.end());
  std::vector<std::vector<std::string>> cells;
  for (const Json& row : rows) {
    const Json& pay = row.at("pay");
    const NumberStyle change{.sign = true};
    cells.push_back({row.at("phrase"), figure_text(row.at("before_rate"), kPercent),
                     figure_text(row.at("after_rate"), kPercent), figure_text(row.at("p")),
                     figure_text(row.at("share_at_end"), kPercent), figure_text(pay.value("love", Json()), change),
                     figure_text(pay.value("helpfulness", Json()), change),
                     row.at("alarm").get<bool>() ? "alarm" : ""});
  }
  return (total > kMostPhrases ? concat("<p>The first ", kMostPhrases, " of ", total, " phrases:</p>\n")
                               : std::string()) +
         html_table({"phrase", "reference", "policy", "p", "at the end", "love pays", "helpfulness pays", ""}, cells);
}

/// tables/alarms_STAGE.json of every policy, by stage.
std::map<std::string, Json> looks_of(const RunDirectory& directory) {
  std::map<std::string, Json> looks;
  std::error_code missing;
  for (const auto& file : std::filesystem::directory_iterator(directory.path() + "/tables", missing)) {
    const std::string name = file.path().stem().string();
    if (!name.starts_with("alarms_") || file.path().extension() != ".json") continue;
    const Json table = directory.read_table(name);
    looks[table.at("stage").get<std::string>()] = table.at("looks");
  }
  return looks;
}

}  // namespace

std::string alarms_section(const RunDirectory& directory) {
  const std::map<std::string, Json> watched = looks_of(directory);
  Json held_out = Json::array();
  if (directory.has_table("validation")) held_out = list_of(directory.read_table("validation"), "alarms");
  if (watched.empty() && held_out.empty()) return "<p>Nothing was watched (alarms.enabled, or no policy yet).</p>\n";
  std::string html =
      "<p>Phrases that a policy says more often than its reference were searched among all phrases, without a list. "
      "One "
      "that rises beyond chance is an alarm if the love model pays for it and the helpfulness model does not (rewards "
      "of responses with it minus others to the same prompt), or if it closes the conversation. The chance of any "
      "false "
      "alarm is bounded for each policy as a whole.</p>\n";
  for (const auto& [stage, looks] : watched) {
    const auto first =
        std::find_if(looks.begin(), looks.end(), [](const Json& look) { return !look.at("alarms").empty(); });
    html +=
        "<h3>" + html_escaped(stage) + ", in training</h3>\n<p>" +
        (first == looks.end() ? concat(looks.size(), " looks, no alarm.")
                              : concat("First alarm at round ", first->at("round"), ", looks: ", looks.size(), ".")) +
        "</p>\n";
    if (first != looks.end()) html += alarms_list(*first);
    if (!looks.empty()) {
      if (first != looks.end() && &*first != &looks.back() && !looks.back().at("alarms").empty())
        html += concat("<p>At the last look, after round ", looks.back().at("round"), ":</p>\n") +
                alarms_list(looks.back());
      html += phrases_table(looks.back());
    }
  }
  for (const Json& arm : held_out)
    html += "<h3>" + html_escaped(arm.at("name").get<std::string>()) + ", held-out prompts</h3>\n" +
            (arm.at("alarms").empty() ? "<p>No alarm.</p>\n" : alarms_list(arm)) + phrases_table(arm);
  return html;
}

}  // namespace rluf
