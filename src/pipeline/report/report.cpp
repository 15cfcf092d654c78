#include "rluf/pipeline/report/report.hpp"

#include <fstream>
#include <map>
#include <sstream>

#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

constexpr const char* kStyle =
    "body{font:15px/1.5 sans-serif;max-width:1020px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;font-size:14px}"
    "td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}th{background:#f0f0f0}"
    "h2{border-bottom:2px solid #ddd;margin-top:2em}figure{margin:0}"
    ".grid{display:grid;grid-template-columns:1fr 1fr;gap:.5em}.missing{color:#a00}"
    ".paper{background:#f7f7ee;padding:.5em 1em}nav a{margin-right:1em}";

struct Section {
  const char *name, *title;
  std::string (*html)(const RunDirectory&);
};

std::string run_line(const RunDirectory& directory) {
  if (!directory.has_table("run")) return "";
  const Json run = directory.read_table("run");
  return concat("<p>rluf ", html_escaped(figure_text(run.value("version", Json()))), ", seed ",
                html_escaped(figure_text(run.value("seed", Json()))), ", ",
                html_escaped(figure_text(run.value("ranks", Json()))), " ranks of ",
                html_escaped(figure_text(run.value("threads", Json()))), " threads, device ",
                html_escaped(figure_text(run.value("device", Json()))), ".</p>\n");
}

std::string options_section(const RunDirectory& directory) {
  std::ifstream file(directory.path() + "/used.ini");
  std::stringstream options;
  options << file.rdbuf();
  std::string html = "<pre>" + html_escaped(options.str()) + "</pre>\n";
  if (directory.has_table("run"))
    html += "<h3>Libraries</h3>\n<pre>" +
            html_escaped(figure_text(directory.read_table("run").value("libraries", Json()))) + "</pre>\n";
  return html;
}

std::string page(const RunDirectory& directory) {
  std::vector<Section> sections{{"decision", "The decision", decision_section},
                                {"summary", "What came out", summary_section},
                                {"signals", "Signals", signals_section},
                                {"data", "Data", data_section},
                                {"rewards", "Reward models", rewards_section},
                                {"ranking", "Offline ranking of candidates", evaluation_section},
                                {"policies", "Policies, round by round", policy_section},
                                {"validation", "Validation", validation_section},
                                {"alarms", "Alarms: reward hacking", alarms_section},
                                {"curves", "Learning curves", learning_curves_section},
                                {"options", "Options", options_section}};
  if (directory.has_table("sweep")) sections.insert(sections.begin() + 1, {"sweep", "The sweep", sweep_section});
  std::string html =
      std::string("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>rluf report</title><style>") +
      kStyle + "</style>\n<h1>rluf report</h1>\n" + run_line(directory);
  html +=
      "<p>Every number was computed by this run, unless it is marked as the paper's (RLUF, arXiv 2505.14946). "
      "Brackets are 95 % intervals.</p>\n<nav>";
  for (const Section& section : sections) html += concat("<a href=\"#", section.name, "\">", section.title, "</a>");
  html += "</nav>\n";
  for (const Section& section : sections)
    html += concat("<h2 id=\"", section.name, "\">", section.title, "</h2>\n", section.html(directory));
  return html + "</html>\n";
}

}  // namespace

nlohmann::json list_of(const nlohmann::json& object, const char* key) {
  return object.contains(key) ? object[key] : Json(Json::value_t::array);
}

std::string missing_stage(const std::string& stage) {
  return "<p class=\"missing\">The stage " + stage + " has not been run: there is nothing to show.</p>\n";
}

std::string paper_says(const std::string& text) { return "<p class=\"paper\">The paper: " + text + "</p>\n"; }

std::string learning_curves_section(const RunDirectory& directory) {
  std::map<std::string, Series> curves;
  std::ifstream file(directory.path() + "/metrics.csv");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string time, stage, step, name, value;
    for (std::string* field : {&time, &stage, &step, &name, &value}) std::getline(fields, *field, ',');
    if (name != "loss" || stage.starts_with("policy")) continue;  // the policies' rounds have a section of their own
    Series& curve = curves[stage];
    curve.title = stage;
    curve.x.push_back(std::atof(step.c_str()));
    curve.y.push_back(std::atof(value.c_str()));
  }
  std::vector<Picture> pictures;
  for (const auto& [stage, curve] : curves)
    pictures.push_back(
        {.title = "Training loss: " + stage, .x_label = "optimizer step", .y_label = "loss", .series = {curve}});
  if (pictures.empty()) return "<p class=\"missing\">metrics.csv holds no training loss.</p>\n";
  return picture_grid(pictures);
}

void run_report(const Guardrails& guardrails, const StageContext& context) {
  guarded(context.grid.world, [&] {
    if (context.grid.world.rank() != 0) return;
    if (context.directory.has_table("validation")) {
      const Json recommendation = recommend(context.directory.read_table("validation"), guardrails);
      if (recommendation.is_object()) {
        context.directory.write_table("recommendation", recommendation);
        log_info(recommendation.at("sentence").get<std::string>());
      }
    }
    write_text(context.directory.path() + "/report.html", page(context.directory));
    log_info(concat("report: ", context.directory.path(), "/report.html"));
  });
}

}  // namespace rluf
