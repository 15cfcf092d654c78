// Reward models: how good they are, part by part of the hold-out, and what P[Love] rewards.
#include <algorithm>
#include <cmath>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};

/// Share with a heart in each bin, with Wilson's interval. @source Wilson 1927
Series reliability_series(const std::string& title, const Json& bins) {
  Series series{.title = title};
  for (const Json& bin : bins) {
    const double n = bin.at("count"), p = bin.at("rate"), z = 1.96, divisor = 1 + z * z / n;
    const double middle = (p + z * z / (2 * n)) / divisor;
    const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / divisor;
    series.x.push_back(bin.at("mean_probability"));
    series.y.push_back(p);
    series.low.push_back(std::max(0.0, middle - half));
    series.high.push_back(middle + half);
  }
  return series;
}

/// What a slice table calls its kinds.
const std::vector<std::pair<std::string, std::string>> kKinds = {{"use_case", "use case"},
                                                                 {"position", "position in the conversation"},
                                                                 {"length", "length of the response"},
                                                                 {"time", "time, quarters of the hold-out"},
                                                                 {"signal", "other signals of the same response"}};

std::string slices_table(const Json& slices) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [by, label] : kKinds)
    for (const Json& slice : slices)
      if (slice.at("by") == by)
        rows.push_back({label, slice.at("slice"), figure_text(slice.at("examples")), figure_text(slice.at("positives")),
                        figure_text(slice.at("rate"), kPercent), figure_text(slice.at("mean_probability"), kPercent),
                        figure_text(slice.at("auroc")), figure_text(slice.at("ece")),
                        figure_text(slice.at("observed_to_expected"))});
  return html_table({"by", "slice", "responses", "hearts", "rate", "mean P[Love]", "AUROC", "ECE",
                     "hearts to predicted (1 is calibrated)"},
                    rows);
}

/// Of the four largest use cases, if there is more than one.
std::vector<Picture> segment_pictures(const Json& slices) {
  std::vector<Json> segments;
  for (const Json& slice : slices)
    if (slice.at("by") == "use_case" && slice.at("positives").get<double>() > 0) segments.push_back(slice);
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Json& a, const Json& b) { return a.at("examples") > b.at("examples"); });
  std::vector<Picture> pictures;
  for (std::size_t i = 0; segments.size() > 1 && i < std::min<std::size_t>(4, segments.size()); ++i)
    pictures.push_back({.title = "Reliability: " + segments[i].at("slice").get<std::string>(),
                        .x_label = "mean corrected probability",
                        .y_label = "share with a heart",
                        .series = {reliability_series("bins of equal mass", segments[i].at("reliability"))},
                        .kind = PictureKind::kPoints,
                        .diagonal = true});
  return pictures;
}

/// What was learned beside love, a head a row.
std::string also_table(const Json& heads) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& head : heads) {
    std::string figures;
    for (const auto& [key, label] :
         std::vector<std::pair<std::string, std::string>>{{"auroc", "AUROC"},
                                                          {"log_loss", "log loss"},
                                                          {"quadratic_kappa", "quadratic-weighted kappa"},
                                                          {"mean_absolute_error", "mean absolute error (levels)"},
                                                          {"rank_correlation", "Spearman's correlation"},
                                                          {"r_squared", "R squared"}})
      if (head.at("metrics").contains(key))
        figures += concat(figures.empty() ? "" : "; ", label, " ", figure_text(head["metrics"][key]));
    rows.push_back({head.at("name"), head.at("kind"), figure_text(head.at("training_rows")),
                    figure_text(head.at("training_rows_without")), figure_text(head.at("held_out_rows")),
                    figure_text(head.at("held_out_rows_without")), figures});
  }
  return "<h4>Learned beside love (love.also)</h4>\n" +
         html_table(
             {"of the log", "kind", "training rows with it", "without", "held-out rows with it", "without", "held out"},
             rows);
}

std::string love_section(const Json& table) {
  std::string html =
      "<h3>P[Love]</h3>\n<p>Held out: " + figure_text(table.at("held_out_examples")) + " responses of " +
      figure_text(table.at("held_out_users")) + " users, " + figure_text(table.at("held_out_positives")) +
      " with a heart (" + figure_text(table.at("held_out_rate"), kPercent) + "); mean corrected P[Love] " +
      figure_text(table.at("mean_corrected_probability"), kPercent) + ". Intervals resample users.</p>\n";
  html += measures_table({"value"}, Json::array({table.at("metrics")}),
                         {{"auroc", "AUROC"},
                          {"auprc", "AUPRC (average precision)"},
                          {"log_loss", "log loss"},
                          {"brier_raw", "Brier score before the prior correction"},
                          {"brier", "Brier score"},
                          {"ece_raw", "ECE before the prior correction"},
                          {"ece_prior", "ECE after it"},
                          {"ece_corrected", "ECE after all calibration (love.calibrate)"},
                          {"calibration_intercept", "calibration intercept (0 is perfect)"},
                          {"calibration_slope", "calibration slope (1 is perfect)"},
                          {"length_correlation", "correlation of score and response length"},
                          {"mean_disagreement", "spread of the heads, mean (logits)"}});
  if (table.contains("also")) html += also_table(table["also"]);
  const Json slices = list_of(table, "slices");
  std::vector<Picture> pictures{
      {.title = "Reliability of P[Love]",
       .x_label = "mean corrected probability",
       .y_label = "share with a heart",
       .series = {reliability_series("hold-out, bins of equal mass", list_of(table, "reliability"))},
       .kind = PictureKind::kPoints,
       .diagonal = true}};
  for (Picture& picture : segment_pictures(slices)) pictures.push_back(std::move(picture));
  html += picture_grid(pictures);
  html += paper_says("AUROC 0.85, correlation of score and output length 0.10. No calibration error is published.");
  if (slices.empty()) return html;
  html += "<h4>Part by part</h4>\n" + slices_table(slices);
  const Json drift = table.value("drift", Json::object());
  if (!drift.empty())
    html += "<p>Drift, later half of the hold-out against the earlier one: AUROC " +
            figure_text(drift.at("auroc_change"), {.sign = true}) + ", logarithm of hearts to predicted " +
            figure_text(drift.at("log_observed_to_expected_change"), {.sign = true}) + ".</p>\n";
  return html;
}

std::string audit_section(const Json& table) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : table.at("correlations"))
    rows.push_back({row.at("use_case"), figure_text(row.at("examples")),
                    figure_text(row.value("love_helpfulness", Json())), figure_text(row.value("love_safety", Json()))});
  const Json& refusals = table.at("refusals");
  return "<h3>What P[Love] rewards</h3>\n<p>Correlation of its score with those of the other models on " +
         figure_text(table.at("examples")) + " held-out responses.</p>\n" +
         html_table({"use case", "responses", "with helpfulness", "with safety"}, rows) +
         measures_table({"value"}, Json::array({refusals}),
                        {{"refusals", "responses that refuse (alarms.refusal_phrases)"},
                         {"mean_probability_of_refusals", "their mean P[Love]", kPercent},
                         {"valid_refusals", "of these with a safety score above the median"},
                         {"mean_probability_of_valid_refusals", "their mean P[Love]", kPercent},
                         {"mean_probability_of_others", "mean P[Love] of other responses", kPercent},
                         {"difference", "refusals against others, points", {.scale = 100, .sign = true}},
                         {"difference_of_valid_refusals",
                          "valid refusals against others, points",
                          {.scale = 100, .sign = true}}}) +
         paper_says(
             "P[Love] goes with the helpfulness reward and against the safety reward, and punishes valid "
             "refusals. No numbers are published.");
}

}  // namespace

std::string rewards_section(const RunDirectory& directory) {
  std::string html;
  if (directory.has_table("reward_love")) html += love_section(directory.read_table("reward_love"));
  Json pairwise = Json::array();
  std::vector<std::string> names;
  for (const char* name : {"helpfulness", "safety"}) {
    if (!directory.has_table(concat("reward_", name))) continue;
    const Json table = directory.read_table(concat("reward_", name));
    Json column = table.at("metrics");
    column["training_pairs"] = table.at("training_pairs");
    column["held_out_pairs"] = table.at("held_out_pairs");
    names.emplace_back(name);
    pairwise.push_back(column);
  }
  if (!pairwise.empty())
    html += "<h3>Helpfulness and safety (Bradley-Terry)</h3>\n" +
            measures_table(names, pairwise,
                           {{"training_pairs", "training pairs"},
                            {"held_out_pairs", "held-out pairs"},
                            {"pair_accuracy", "pairs ranked right", kPercent},
                            {"pair_accuracy_of_length", "by length alone", kPercent},
                            {"log_loss", "log loss"},
                            {"length_correlation", "correlation of score and response length"},
                            {"mean_disagreement", "spread of the heads, mean (logits)"}});
  if (directory.has_table("audit")) html += audit_section(directory.read_table("audit"));
  return html.empty() ? missing_stage("reward") : html;
}

}  // namespace rluf
