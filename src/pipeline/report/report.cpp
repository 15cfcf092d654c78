#include "rluf/pipeline/report/report.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/report/page.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr const char* kStyle =
    "body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 "
    "1em;color:#222}table{border-collapse:collapse;margin:1em 0}"
    "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:left}th{background:#f0f0f0}figure{margin:1em "
    "0}.missing{color:#a00}"
    ".paper{background:#f7f7ee;padding:.5em 1em}";

/// What the paper reports, beside what this run found. @source arXiv 2505.14946
std::string paper(const std::string& text) { return "<p class=\"paper\">The paper: " + text + "</p>\n"; }

std::string missing(const std::string& stage) {
  return "<p class=\"missing\">The stage " + stage + " has not been run: there is nothing to show.</p>\n";
}

Series series_of(const std::string& title, const Json& rows, const std::string& x, const std::string& y) {
  Series series{.title = title};
  for (const Json& row : rows) {
    if (!row.contains(x) || !row.contains(y) || !row[y].is_number()) continue;
    series.x.push_back(row[x].get<double>());
    series.y.push_back(row[y].get<double>());
  }
  return series;
}

/// A list in an object; empty if there is none.
Json list_of(const Json& object, const char* key) {
  return object.contains(key) ? object[key] : Json(Json::value_t::array);
}

/// Key and value of every simple member; nested objects get "outer.inner" names.
void flatten(const Json& object, const std::string& prefix, std::vector<std::vector<std::string>>& rows) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object() && !value.contains("value")) {
      flatten(value, prefix + key + ".", rows);
    } else if (!value.is_array()) {
      rows.push_back({prefix + key, figure_text(value)});
    }
  }
}

std::string simple_table(const Json& object) {
  std::vector<std::vector<std::string>> rows;
  flatten(object, "", rows);
  return html_table({"", "value"}, rows);
}

/// All rows of a list of objects, a column for each simple member.
std::string list_table(const Json& list) {
  std::vector<std::string> head;
  for (const Json& row : list)
    for (const auto& [key, value] : row.items())
      if (!value.is_array() && std::find(head.begin(), head.end(), key) == head.end()) head.push_back(key);
  const auto name = std::find(head.begin(), head.end(), "name");
  if (name != head.end()) std::rotate(head.begin(), name, name + 1);
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : list) {
    std::vector<std::string> cells;
    for (const auto& key : head) cells.push_back(row.contains(key) ? figure_text(row[key]) : "");
    rows.push_back(cells);
  }
  return html_table(head, rows);
}

/// Points with intervals, one for each row; `key` holds {value, low, high}.
Series bars_of(const std::string& title, const Json& rows, const std::string& key) {
  Series series{.title = title};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].contains(key) || !rows[i][key].is_object()) continue;
    const Json& figure = rows[i][key];
    if (!figure.contains("low") || !figure["low"].is_number() || !figure["value"].is_number()) continue;
    series.x.push_back(static_cast<double>(i));
    series.y.push_back(figure["value"].get<double>());
    series.low.push_back(figure["low"].get<double>());
    series.high.push_back(figure["high"].get<double>());
  }
  return series;
}

std::vector<std::string> names_of(const Json& rows) {
  std::vector<std::string> names;
  for (const Json& row : rows) names.push_back(row.value("name", "?"));
  return names;
}

/// Loss of every training stage from metrics.csv.
std::string learning_curves(const std::string& path) {
  std::map<std::string, Series> curves;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string time, stage, step, name, value;
    std::getline(fields, time, ',');
    std::getline(fields, stage, ',');
    std::getline(fields, step, ',');
    std::getline(fields, name, ',');
    std::getline(fields, value, ',');
    if (name != "loss" || stage.starts_with("policy")) continue;
    Series& curve = curves[stage];
    curve.title = stage;
    curve.x.push_back(std::atof(step.c_str()));
    curve.y.push_back(std::atof(value.c_str()));
  }
  std::string html;
  for (auto& [stage, curve] : curves)
    html += plot({.title = "Training loss: " + stage, .x_label = "step", .y_label = "loss", .series = {curve}});
  return html;
}

std::string rewards_section(const RunDirectory& directory) {
  std::string html = "<h2>Reward models</h2>\n";
  bool any = false;
  for (const std::string name : {"love", "helpfulness", "safety"}) {
    if (!directory.has_table("reward_" + name)) continue;
    any = true;
    const Json table = directory.read_table("reward_" + name);
    html += "<h3>" + name + "</h3>\n";
    html += simple_table(table);
    if (table.contains("reliability")) {
      Json bins = table["reliability"];
      html += plot({.title = "Reliability of P[Love], bins of equal mass",
                    .x_label = "mean corrected probability",
                    .y_label = "share with a heart",
                    .series = {series_of("hold-out", bins, "mean_probability", "rate")},
                    .lines = false,
                    .diagonal = true});
    }
    if (name == "love")
      html += paper("AUROC 0.85, correlation of score and output length 0.10. No calibration error is published.");
  }
  return any ? html : html + missing("reward");
}

std::string evaluation_section(const RunDirectory& directory) {
  std::string html = "<h2>Offline ranking of candidates</h2>\n";
  if (!directory.has_table("evaluation")) return html + missing("evaluate");
  const Json table = directory.read_table("evaluation");
  const Json candidates = list_of(table, "candidates");
  if (candidates.empty()) return html + simple_table(table);
  html += list_table(candidates);
  html += plot({.title = "Mean corrected P[Love], 95 % intervals",
                .x_label = "",
                .y_label = "P[Love]",
                .series = {bars_of("offline", candidates, "love_probability")},
                .x_names = names_of(candidates)});
  Series scatter{.title = "candidates"};
  for (const Json& candidate : candidates)
    if (candidate.contains("online") && candidate["online"].is_number() &&
        candidate["love_probability"]["value"].is_number()) {
      scatter.x.push_back(candidate["love_probability"]["value"]);
      scatter.y.push_back(candidate["online"]);
    }
  if (scatter.x.size() > 1)
    html += plot({.title = "Offline score against online love rate",
                  .x_label = "mean corrected P[Love]",
                  .y_label = "online love rate",
                  .series = {scatter},
                  .lines = false});
  if (table.contains("correlation")) html += simple_table(table["correlation"]);
  return html + paper(
                    "Pearson r = 0.95 between offline score and online change of the love rate over ten model versions "
                    "(95 % interval by Fisher's z: 0.80 to 0.99).");
}

std::string policy_section(const RunDirectory& directory) {
  std::string html = "<h2>Policies (CRRAFT)</h2>\n";
  if (!directory.has_table("policy")) return html + missing("policy");
  const Json table = directory.read_table("policy");
  const Json policies = list_of(table, "policies");
  const std::vector<std::pair<const char*, const char*>> pictures{
      {"probability_love", "P[Love] of the drawn responses"},
      {"reward_helpfulness", "Calibrated helpfulness reward"},
      {"reward_safety", "Calibrated safety reward"},
      {"reward", "Combined reward"},
      {"closing_rate", "Share of responses with a closing phrase"},
      {"kl", "Log-ratio to the reference (nats)"},
      {"share_no_survivor", "Share of prompts without a survivor"},
      {"length_tokens", "Response length (tokens)"}};
  for (const auto& [key, title] : pictures) {
    std::vector<Series> series;
    for (const Json& policy : policies) {
      Series curve = series_of(policy.value("name", "?"), list_of(policy, "rounds"), "round", key);
      if (!curve.x.empty()) series.push_back(std::move(curve));
    }
    if (!series.empty()) html += plot({.title = title, .x_label = "round", .y_label = "", .series = series});
  }
  for (const Json& policy : policies) {
    const Json rounds = list_of(policy, "rounds");
    if (rounds.empty()) continue;
    html += "<h3>" + html_escaped(policy.value("name", "?")) + "</h3>\n";
    Json shown = Json::array({rounds.front()});
    if (rounds.size() > 2) shown.push_back(rounds[rounds.size() / 2]);
    if (rounds.size() > 1) shown.push_back(rounds.back());
    html += list_table(shown);
  }
  return html;
}

std::string validation_section(const RunDirectory& directory) {
  std::string html = "<h2>Validation</h2>\n";
  if (!directory.has_table("validation")) return html + missing("validate");
  const Json table = directory.read_table("validation");
  const Json arms = list_of(table, "arms");
  html += "<h3>Held-out prompts, scored by the reward models</h3>\n" + list_table(arms);
  if (table.contains("differences")) html += "<h3>Paired differences</h3>\n" + list_table(table["differences"]);
  if (table.contains("ab") && table["ab"].is_object()) {
    const Json ab = table["ab"], ab_arms = list_of(ab, "arms");
    html += "<h3>Simulated A/B test, users randomised</h3>\n" + list_table(ab_arms);
    for (const auto& [key, title] :
         std::vector<std::pair<const char*, const char*>>{{"love_rate", "Love per response"},
                                                          {"closing_rate", "Share of responses with a closing phrase"},
                                                          {"true_helpfulness", "True helpfulness"},
                                                          {"true_safety", "True safety"}})
      html += plot({.title = title,
                    .x_label = "",
                    .y_label = "",
                    .series = {bars_of("95 % interval", ab_arms, key)},
                    .x_names = names_of(ab_arms)});
    Json rest = ab;
    rest.erase("arms");
    html += simple_table(rest);
  }
  return html + paper(
                    "love +9.73 % at weight 0.1 and +28 % at 0.3 in live A/B tests; \"bye\" in 0.72 % of utterances at "
                    "the baseline and 2.8 % at weight 0.3, "
                    "with conversations closed too early; helpfulness and safety maintained (no numbers published).");
}

std::string page(const RunDirectory& directory) {
  std::string html =
      std::string("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>rluf report</title><style>") +
      kStyle + "</style>\n<h1>rluf report</h1>\n";
  html +=
      "<p>Every number below was computed by this run, unless it is marked as the paper's (arXiv 2505.14946). "
      "Intervals are 95 %.</p>\n";
  if (directory.has_table("run")) html += "<h2>Run</h2>\n" + simple_table(directory.read_table("run"));
  html += "<h2>Data</h2>\n";
  if (directory.has_table("dataset")) {
    const Json tables = directory.read_table("dataset");
    for (const auto& [name, part] : tables.items()) {
      if (part.is_object()) html += "<h3>" + html_escaped(name) + "</h3>\n" + simple_table(part);
    }
  } else {
    html += missing("dataset");
  }
  html += "<h2>Reference policy</h2>\n" +
          (directory.has_table("sft") ? simple_table(directory.read_table("sft")) : missing("sft"));
  html += rewards_section(directory) + evaluation_section(directory) + policy_section(directory) +
          validation_section(directory);
  html += "<h2>Learning curves</h2>\n" + learning_curves(directory.path() + "/metrics.csv");
  std::ifstream file(directory.path() + "/used.ini");
  std::stringstream options;
  options << file.rdbuf();
  return html + "<h2>Options</h2>\n<pre>" + html_escaped(options.str()) + "</pre>\n</html>\n";
}

}  // namespace

void run_report(const StageContext& context) {
  guarded(context.grid.world, [&] {
    if (context.grid.world.rank() != 0) return;
    write_text(context.directory.path() + "/report.html", page(context.directory));
    log_info(concat("report: ", context.directory.path(), "/report.html"));
  });
}

}  // namespace rluf
