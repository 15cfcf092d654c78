// The signals stage: which signal to learn from, and why.
#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};
const NumberStyle kPoints{.scale = 100, .suffix = " points", .sign = true};

/// Figures of one criterion, one column a signal.
std::string criterion_table(const Json& signals, const char* criterion, const char* figures,
                            std::vector<Measure> measures) {
  Json columns = Json::array();
  for (const Json& signal : signals) {
    Json column = signal.at(figures);
    column["passed"] = signal.at(criterion).at("passed");
    columns.push_back(column);
  }
  measures.push_back({"passed", "passed"});
  return measures_table(names_of(signals), columns, measures);
}

/// Member `key` of every signal's `part`, as objects for bars_of().
Json figures_of(const Json& signals, const char* part, const char* key) {
  Json list = Json::array();
  for (const Json& signal : signals) list.push_back({{key, signal.at(part).at(key)}});
  return list;
}

Json contradictions_of(const Json& signals) {
  Json list = Json::array();
  for (const Json& signal : signals)
    list.push_back({{"opposite", signal.at("unambiguity").at("opposite").at("ratio")},
                    {"with", signal.at("unambiguity").at("opposite").at("with")},
                    {"without", signal.at("unambiguity").at("opposite").at("without")}});
  return list;
}

std::string unambiguity_tables(const Json& signals) {
  Json columns = Json::array();
  for (const Json& signal : signals) {
    Json column = signal.at("unambiguity");
    const Json& opposite = column.at("opposite");
    column["with"] = opposite.at("with");
    column["without"] = opposite.at("without");
    column["ratio"] = opposite.at("ratio");
    column["next"] = column.at("next_negative").at("difference");
    column["passed"] = signal.at("unambiguous").at("passed");
    columns.push_back(column);
  }
  std::string html = measures_table(names_of(signals), columns,
                                    {{"with", "signals of the other kind on a response with it", kPercent},
                                     {"without", "on a response without it", kPercent},
                                     {"ratio", "with / without"},
                                     {"next", "change of a bad signal on the user's next response", kPoints},
                                     {"drift", "spread over time beyond chance, of the rate", kPercent},
                                     {"drift_p", "p of an equal rate over time"},
                                     {"half_ratio", "rate in one half of the users / in the other"},
                                     {"icc", "likeness of a user's responses (ICC)"},
                                     {"gini", "Gini coefficient over users"},
                                     {"top_1_percent_share", "share from the 1 % of users who give most", kPercent},
                                     {"reactors", "users beyond chance"},
                                     {"reactor_share", "share that comes from them", kPercent},
                                     {"passed", "passed"}});
  std::vector<std::string> head{"agreement (phi) with"};
  for (const std::string& name : names_of(signals)) head.push_back(name);
  std::vector<std::vector<std::string>> rows;
  for (const Json& other : signals) {
    std::vector<std::string> cells{other.at("name")};
    for (const Json& signal : signals) {
      std::string cell;
      for (const Json& companion : signal.at("unambiguity").at("companions"))
        if (companion.at("name") == other.at("name")) cell = figure_text(companion.at("phi"));
      cells.push_back(cell);
    }
    rows.push_back(cells);
  }
  return html + html_table(head, rows);
}

}  // namespace

std::string signals_section(const RunDirectory& directory) {
  if (!directory.has_table("signals")) return missing_stage("signals");
  const Json table = directory.read_table("signals");
  const Json signals = list_of(table, "signals");
  std::string html = concat(
      "<p>", table.at("recommended").is_null() ? "No signal is recommended. " : "Recommended: ",
      html_escaped(table.at("reason").get<std::string>()), "</p>\n<p>", figure_text(table.at("read")), " rows read, ",
      figure_text(table.at("duplicates")), " exact duplicates dropped, ", figure_text(table.at("used")),
      " used. Intervals are clustered by user. Best signal first; derived ones are no labels.</p>\n");
  std::vector<std::vector<std::string>> rows;
  for (const Json& signal : signals) {
    std::vector<std::string> row{signal.at("name"), signal.at("kind"), signal.at("says"),
                                 figure_text(signal.at("score"))};
    for (const char* criterion : {"available", "tied", "unambiguous"})
      row.push_back(concat(signal.at(criterion).at("passed").get<std::string>(), ": ",
                           signal.at(criterion).at("reason").get<std::string>()));
    rows.push_back(row);
  }
  html += html_table({"signal", "kind", "says", "score", "available", "tied to retention", "unambiguous"}, rows);
  for (const Json& field : list_of(table, "left_out"))
    html += "<p>Left out: " + html_escaped(field.at("name").get<std::string>()) + ", " +
            html_escaped(field.at("reason").get<std::string>()) + ".</p>\n";
  const std::vector<std::string> names = names_of(signals);
  const auto points = [&](const char* title, const char* y, Series series) {
    return Picture{
        .title = title, .y_label = y, .series = {std::move(series)}, .kind = PictureKind::kPoints, .x_names = names};
  };
  html += picture_grid({points("Available: rate per response", "% of responses",
                               bars_of("interval", figures_of(signals, "availability", "rate"), "rate", 100)),
                        points("Tied: odds ratio of retention, adjusted", "odds ratio",
                               bars_of("interval", figures_of(signals, "tie", "odds_ratio"), "odds_ratio")),
                        points("Unambiguous: contradictions with it / without it", "ratio of rates",
                               bars_of("interval", contradictions_of(signals), "opposite")),
                        points("Change of retention within a user", "points",
                               bars_of("interval", figures_of(signals, "tie", "within_user"), "within_user", 100))});
  html += "<h3>Available</h3>\n" + criterion_table(signals, "available", "availability",
                                                   {{"events", "events"},
                                                    {"responses", "responses that tell"},
                                                    {"rate", "rate", kPercent},
                                                    {"user_share", "users who gave it", kPercent},
                                                    {"design_effect", "design effect of users"},
                                                    {"needed_events", "events needed"},
                                                    {"needed_responses", "responses for so many"},
                                                    {"needed_users", "users for so many"}});
  if (table.at("use_cases").is_array()) {
    std::vector<std::vector<std::string>> cases;
    for (std::size_t c = 0; c < table["use_cases"].size(); ++c) {
      std::vector<std::string> cells{table["use_cases"][c]};
      for (const Json& signal : signals)
        cells.push_back(figure_text(signal.at("availability").at("use_cases").at(c).at("rate"), kPercent));
      cases.push_back(cells);
    }
    std::vector<std::string> head{"rate by use case"};
    head.insert(head.end(), names.begin(), names.end());
    html += html_table(head, cases);
  } else {
    html += "<p>Use cases: " + html_escaped(figure_text(table["use_cases"])) + ".</p>\n";
  }
  html += "<h3>Tied to retention (" + html_escaped(figure_text(table.at("retention_field"))) + ")</h3>\n" +
          criterion_table(signals, "tied", "tie",
                          {{"judged_by", "compared: users who ever gave it, or responses"},
                           {"odds_ratio", "odds ratio, adjusted"},
                           {"p", "p"},
                           {"adjusted_difference", "difference, adjusted", kPoints},
                           {"user_difference", "users who ever gave it - others", kPoints},
                           {"within_user", "after it - after others, same user", kPoints},
                           {"within_users", "users with both"},
                           {"within_return", "back the next day: after it - after others, same user", kPoints}});
  html += "<h3>Unambiguous</h3>\n" + unambiguity_tables(signals);
  return html + paper_says(
                    "a signal must be available at scale, correlated with long-term satisfaction and unambiguous; "
                    "love reactions were chosen. Its figures for this choice are not published.");
}

}  // namespace rluf
