// Data, offline ranking and policies.
#include <algorithm>
#include <cmath>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};

/// "0.575 -> 0.603": the first and the last round.
std::string first_to_last(const Json& rounds, const std::string& key, const NumberStyle& style) {
  if (rounds.empty() || !rounds.front().contains(key)) return "";
  NumberStyle bare = style;
  bare.suffix = "";
  return figure_text(rounds.front()[key], bare) + " \u2192 " + figure_text(rounds.back()[key], style);
}

double mean_of(const Json& rounds, const char* key) {
  double sum = 0;
  for (const Json& round : rounds) sum += round.value(key, 0.0);
  return rounds.empty() ? 0 : sum / static_cast<double>(rounds.size());
}

/// What became of the responses of each policy at each judge, the first and the last round and all.
std::string judges_table(const Json& policies, const Json& judges, const Json& tasks) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& policy : policies)
    for (const Json& judge : judges) {
      const std::string name = judge;
      const Json rounds = policy.at("rounds");
      std::vector<std::string> row{policy.at("name"), name};
      double decided = 0;
      for (const char* verdict : {"satisfied_", "violated_", "failed_"}) {
        const double share = mean_of(rounds, (verdict + name).c_str());
        decided += share;
        row.push_back(first_to_last(rounds, verdict + name, kPercent) + " (" + figure_text(share, kPercent) + ")");
      }
      row.push_back(figure_text(std::max(0.0, 1 - decided), kPercent));
      rows.push_back(row);
    }
  if (rows.empty()) return "";
  std::vector<std::vector<std::string>> task_rows;
  for (const Json& policy : policies)
    for (const std::string task : tasks)
      for (const std::string judge : judges) {
        std::vector<std::string> row{policy.at("name"), task, judge};
        double responses = 0;
        for (const Json& round : policy.at("rounds")) responses += round.value("responses." + task, 0.0);
        for (const char* verdict : {"satisfied_", "violated_", "failed_"}) {
          double count = 0;
          for (const Json& round : policy.at("rounds"))
            count += round.value("responses." + task, 0.0) * round.value(verdict + judge + "." + task, 0.0);
          row.push_back(figure_text(std::round(count)));
        }
        row.push_back(figure_text(responses));
        task_rows.push_back(row);
      }
  const std::string by_task =
      task_rows.empty()
          ? ""
          : "<p>By task, in all rounds:</p>\n" +
                html_table({"policy", "task", "judge", "satisfied", "violated", "failed", "responses"}, task_rows);
  return "<h3>Judges</h3>\n<p>Shares of the drawn responses, first \u2192 last round (all rounds). A judge that failed "
         "could not decide; such a response is not used. Not asked: the prompt sets no such constraint.</p>\n" +
         html_table({"policy", "judge", "satisfied", "violated", "failed", "not asked"}, rows) + by_task;
}

/// Gao's curves: a table, and for each policy the gain of every objective against sqrt(KL).
std::string gains_part(const Json& policies) {
  std::vector<std::vector<std::string>> rows;
  std::vector<Picture> pictures;
  for (const Json& policy : policies) {
    Picture picture{.title = "Gain against distance: " + policy.at("name").get<std::string>(),
                    .x_label = "square root of the log-ratio to the reference",
                    .y_label = "gain of the raw score",
                    .series = {},
                    .kind = PictureKind::kPoints};
    for (const Json& curve : list_of(policy, "gain_curves")) {
      const std::string objective = curve.at("objective");
      rows.push_back({policy.at("name"), objective, curve.at("form"), figure_text(curve.at("alpha")),
                      figure_text(curve.at("beta")), figure_text(curve.at("peak_kl")),
                      figure_text(curve.at("largest_kl")), curve.at("sentence")});
      Series series{.title = objective, .x = {}, .y = {}, .low = {}, .high = {}};
      for (const Json& round : policy.at("rounds"))
        if (const double kl = round.at("kl"); kl > 0) {
          series.x.push_back(std::sqrt(kl));
          series.y.push_back(round.at("gain_" + objective));
        }
      if (!series.x.empty()) picture.series.push_back(std::move(series));
    }
    if (!picture.series.empty()) pictures.push_back(std::move(picture));
  }
  if (rows.empty()) return "";
  return "<h3>Gain against distance</h3>\n<p>Gains of raw scores over the baseline responses, with d = sqrt(KL), "
         "fitted "
         "as in Gao et al. (arXiv 2210.10760), rounds taken as independent. A reward that is trained on may rise for "
         "ever; it is a witness (policy.witnesses), a model that nothing is chosen by, whose peak says where to "
         "stop.</p>\n" +
         html_table({"policy", "reward", "form", "alpha", "beta", "peak at a KL of", "largest KL", ""}, rows) +
         (pictures.empty() ? "" : picture_grid(pictures));
}

}  // namespace

std::string data_section(const RunDirectory& directory) {
  if (!directory.has_table("dataset")) return missing_stage("dataset");
  const Json table = directory.read_table("dataset");
  std::vector<std::string> sources;
  Json parts = Json::array();
  for (const auto& [name, part] : table.items())
    if (part.is_object() && part.contains("read")) {
      sources.push_back(name);
      parts.push_back(part);
    }
  // Known members in the order in which rows are lost; whatever a stage adds later follows.
  std::vector<Measure> measures{{"signal", "label"},
                                {"read", "rows read"},
                                {"duplicates", "dropped: exact duplicates"},
                                {"dropped_reactions", "dropped: positives of users beyond chance (data.reactors)"},
                                {"no_partner", "dropped: no other response to compare with"},
                                {"partners", "second rows of pairs"},
                                {"contradicting_scores", "dropped: the chosen response has the lower score"},
                                {"identical_responses", "dropped: both responses equal"},
                                {"dropped", "dropped: other reasons"},
                                {"dropped_negatives", "dropped: negatives, to balance the labels"},
                                {"repeated_positives", "added: repeated positives"},
                                {"train", "training rows"},
                                {"train_positives", "of these positives"},
                                {"holdout", "held-out rows"},
                                {"holdout_positives", "of these positives"},
                                {"truncated_rows", "rows longer than the context"},
                                {"truncated_tokens", "tokens cut from them"},
                                {"dropped_messages", "oldest messages left out"},
                                {"out_of_order_timestamps", "time stamps out of order"},
                                {"natural_rate", "natural rate of the signal", kPercent},
                                {"training_rate", "rate in training", kPercent},
                                {"prior_correction", "added to logits to undo that"}};
  std::set<std::string> known{"file"};
  for (const Measure& measure : measures) known.insert(measure.key);
  for (const Json& part : parts)
    for (const auto& [key, value] : part.items())
      if (!value.is_structured() && known.insert(key).second) measures.push_back({key, key});
  std::string html = "<p>Where every row went. Held-out rows of the log are its last part in time.</p>\n" +
                     measures_table(sources, parts, measures);
  if (!directory.has_table("sft")) return html + missing_stage("sft");
  const Json sft = directory.read_table("sft");
  return html + "<h3>Reference policy</h3>\n" +
         measures_table({"value"}, Json::array({sft}),
                        {{"base", "started from"},
                         {"examples", "training examples"},
                         {"held_out_examples", "held-out examples"},
                         {"held_out_perplexity_before", "held-out perplexity a token, before"},
                         {"held_out_perplexity_after", "held-out perplexity a token, after"}});
}

std::string evaluation_section(const RunDirectory& directory) {
  if (!directory.has_table("evaluation")) return missing_stage("evaluate");
  const Json table = directory.read_table("evaluation");
  const Json candidates = list_of(table, "candidates");
  if (candidates.empty()) return "<p>No candidates were named (data.candidates).</p>\n" + log_part(table);
  std::string html = "<p>Mean corrected P[Love] on the same " + figure_text(table.at("prompts")) +
                     " prompts; differences are paired, places are those of 95 % of the resamples.</p>\n";
  std::vector<std::vector<std::string>> rows;
  for (const Json& candidate : candidates)
    rows.push_back({figure_text(candidate.at("place")) + " [" + figure_text(candidate.at("place_low")) + ", " +
                        figure_text(candidate.at("place_high")) + "]",
                    candidate.at("name"), figure_text(candidate.at("mean_probability"), kPercent),
                    figure_text(candidate.at("difference_to_best"), {.scale = 100, .suffix = " points", .sign = true}),
                    figure_text(candidate.at("online_love_rate"), kPercent),
                    figure_text(candidate.at("closing_rate"), kPercent),
                    figure_text(candidate.at("mean_response_tokens"))});
  html += html_table(
      {"place", "candidate", "mean P[Love]", "difference to the best", "online love rate", "closings", "tokens"}, rows);
  std::vector<Picture> pictures{{.title = "Candidates by mean corrected P[Love]",
                                 .y_label = "P[Love] (%)",
                                 .series = {bars_of("95 % interval", candidates, "mean_probability", 100)},
                                 .kind = PictureKind::kPoints,
                                 .x_names = names_of(candidates)}};
  if (table.contains("online") && table["online"].is_object())
    pictures.push_back({.title = "Offline score and online love rate",
                        .x_label = "mean corrected P[Love]",
                        .y_label = "online love rate",
                        .series = {series_of("candidates", candidates, "mean_probability", "online_love_rate")},
                        .kind = PictureKind::kPoints});
  html += picture_grid(pictures);
  if (table.contains("online") && table["online"].is_object())
    html += "<p>" + html_escaped(table["online"].at("sentence").get<std::string>()) + "; Spearman " +
            figure_text(table["online"].at("spearman")) + "; " +
            html_escaped(table["online"].value("leave_one_out_sentence", "")) + ".</p>\n";
  return html + log_part(table) +
         paper_says(
             "Pearson r = 0.95 between offline score and online change of the love rate over ten model "
             "versions (95 % interval by Fisher's z: 0.80 to 0.99).");
}

std::string policy_section(const RunDirectory& directory) {
  if (!directory.has_table("policy")) return missing_stage("policy");
  const Json table = directory.read_table("policy");
  const Json policies = list_of(table, "policies");
  const std::vector<Measure> measures{
      {"reward", "combined reward R"},
      {"reward_love", "love reward (calibrated, 0.5: like the baseline response)"},
      {"reward_helpfulness", "helpfulness reward"},
      {"reward_safety", "safety reward"},
      {"reward_witness_love", "love reward by the witness"},
      {"reward_witness_helpfulness", "helpfulness reward by the witness"},
      {"reward_witness_safety", "safety reward by the witness"},
      {"probability_love", "mean P[Love]", kPercent},
      {"kl", "log-ratio to the reference (nats)"},
      {"disagreement_love", "spread of the love model's heads"},
      {"disagreement_helpfulness", "spread of the helpfulness model's heads"},
      {"disagreement_safety", "spread of the safety model's heads"},
      {"log_prob_difference", "log-probabilities of drawing and training, mean difference"},
      {"closing_rate", "responses with a closing phrase", kPercent},
      {"length_tokens", "response length (tokens)"},
      {"share_no_survivor", "prompts without a survivor", kPercent},
      {"share_baseline", "prompts that used the baseline response", kPercent},
      {"share_skipped", "prompts skipped", kPercent},
      {"trained_responses", "responses trained on in a round"},
      {"distinct_2", "distinct word pairs within a response", kPercent}};
  std::vector<std::string> head{"first round \u2192 last round"};
  for (const Json& policy : policies) head.push_back(policy.at("name"));
  std::vector<std::vector<std::string>> rows;
  for (const Measure& measure : measures) {
    std::vector<std::string> cells{measure.label};
    for (const Json& policy : policies) cells.push_back(first_to_last(policy.at("rounds"), measure.key, measure.style));
    if (std::any_of(cells.begin() + 1, cells.end(), [](const std::string& cell) { return !cell.empty(); }))
      rows.push_back(cells);
  }
  std::vector<std::string> times{"seconds a round: generation, scoring, judging, training"};
  for (const Json& policy : policies) {
    std::string cell;
    for (const char* key : {"generation_seconds", "scoring_seconds", "judging_seconds", "training_seconds"})
      cell += (cell.empty() ? "" : ", ") + figure_text(mean_of(policy.at("rounds"), key));
    times.push_back(cell);
  }
  rows.push_back(times);
  std::string html;
  if (table.contains("optimizer"))
    html += "<p>Optimizer: " + html_escaped(table.at("optimizer").get<std::string>()) + "; the weights apply to the " +
            html_escaped(table.at("weights_apply_to").get<std::string>()) + ".</p>\n";
  if (table.value("optimizer", "") == "best_of_n")
    html +=
        "<p>It draws from the reference: the figures of the rounds but the log-ratio and the training are of the "
        "reference's responses. What the policy itself says is in the validation.</p>\n";
  if (const Json warm_up = table.value("warm_up", Json::object()); warm_up.contains("held_out_accuracy"))
    html += "<p>Before the rounds " + figure_text(warm_up.at("steps")) + " steps of DPO on " +
            figure_text(warm_up.at("pairs")) + " pairs; of " + figure_text(warm_up.at("held_out_pairs")) +
            " held-out pairs the chosen answer then gained more than the rejected one in " +
            figure_text(warm_up.at("held_out_accuracy"), kPercent) +
            ". The result is the reference of the rounds.</p>\n";
  html +=
      "<p>Each policy starts from the reference. Rewards are compared with one baseline response a "
      "prompt, drawn from the reference once. Rounds are small, so single rounds scatter.</p>\n" +
      html_table(head, rows) + judges_table(policies, list_of(table, "judges"), list_of(table, "tasks")) +
      gains_part(policies);
  std::vector<Picture> pictures;
  for (const auto& [key, title] :
       std::vector<std::pair<const char*, const char*>>{{"reward", "Combined reward"},
                                                        {"probability_love", "P[Love] of the drawn responses"},
                                                        {"reward_helpfulness", "Helpfulness reward"},
                                                        {"reward_safety", "Safety reward"},
                                                        {"closing_rate", "Share of responses with a closing phrase"},
                                                        {"kl", "Log-ratio to the reference (nats)"},
                                                        {"share_no_survivor", "Share of prompts without a survivor"},
                                                        {"length_tokens", "Response length (tokens)"}}) {
    std::vector<Series> series;
    for (const Json& policy : policies)
      series.push_back(series_of(policy.at("name"), list_of(policy, "rounds"), "round", key));
    pictures.push_back({.title = title, .x_label = "round", .y_label = "", .series = series});
  }
  return html + picture_grid(pictures);
}

}  // namespace rluf
