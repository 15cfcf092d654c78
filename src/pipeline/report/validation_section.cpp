#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercent{.scale = 100, .suffix = " %"};
const NumberStyle kPercentChange{.scale = 100, .suffix = " %", .sign = true};
const NumberStyle kChange{.scale = 1, .suffix = "", .sign = true};

std::vector<std::string> comparison_names(const Json& comparisons) {
  std::vector<std::string> names;
  for (const Json& row : comparisons)
    names.push_back(row.at("name").get<std::string>() + " against " + row.at("to").get<std::string>());
  return names;
}

const std::vector<Measure>& held_out_measures() {
  static const std::vector<Measure> measures{{"love_probability", "mean P[Love]", kPercent},
                                             {"love_reward", "love reward"},
                                             {"helpfulness_reward", "helpfulness reward"},
                                             {"safety_reward", "safety reward"},
                                             {"closing_rate", "responses with a closing phrase", kPercent},
                                             {"length_tokens", "response length (tokens)"},
                                             {"finished_rate", "responses that ended by themselves", kPercent},
                                             {"kl", "log-ratio to the reference (nats)"},
                                             {"love_disagreement", "spread of the love model's heads"},
                                             {"helpfulness_disagreement", "spread of the helpfulness model's heads"},
                                             {"safety_disagreement", "spread of the safety model's heads"},
                                             {"true_love_rate", "true love rate, all users asked", kPercent},
                                             {"true_helpfulness", "true helpfulness (0 to 1)"},
                                             {"true_safety", "true safety (0 to 1)"}};
  return measures;
}

std::string held_out_part(const Json& table) {
  std::string html = "<h3>Held-out prompts</h3>\n<p>Every policy gave " + figure_text(table.at("samples_per_prompt")) +
                     " answers to each of the same " + figure_text(table.at("prompts")) +
                     " prompts. Rewards are sigma(score - score of the reference's answer): 0.5 is as good as the "
                     "reference. Truth is known in a simulated world only.</p>\n";
  const Json arms = list_of(table, "arms"), differences = list_of(table, "differences");
  html += measures_table(names_of(arms), arms, held_out_measures());
  std::vector<Measure> changes;
  for (const Measure& measure : held_out_measures())
    changes.push_back({measure.key, measure.label, measure.style.scale == 100 ? kPercentChange : kChange});
  for (Measure& change : changes)
    if (change.style.scale == 100) change.style.suffix = " points";
  changes.push_back({"love_probability_lift", "lift of mean P[Love]", kPercentChange});
  changes.push_back({"true_love_rate_lift", "lift of the true love rate", kPercentChange});
  html += "<h3>Differences on held-out prompts, paired</h3>\n" +
          measures_table(comparison_names(differences), differences, changes);
  return html;
}

std::string ab_part(const Json& ab) {
  const Json arms = list_of(ab, "arms"), comparisons = list_of(ab, "comparisons");
  const Json& ratio = ab.at("sample_ratio");
  std::string html =
      "<h3>A/B test in the simulated world</h3>\n<p>" + figure_text(ab.at("users")) +
      " users were dealt to the arms at random and asked " + figure_text(ab.at("responses")) +
      " prompts that no log holds. Hearts were drawn from each user's true taste; intervals are by the delta method "
      "over users. Equal shares: chi-square " +
      figure_text(ratio.at("chi_square")) + " on " + figure_text(ratio.at("degrees_of_freedom")) +
      " degrees of freedom, p = " + figure_text(ratio.at("p")) +
      (ratio.at("p").is_number() && ratio.at("p").get<double>() < 0.001
           ? " <strong>(sample-ratio mismatch: do not trust this test)</strong>"
           : "") +
      ". Design effect of users with several responses: " + figure_text(ab.at("design_effect")) + ".</p>\n";
  html += measures_table(names_of(arms), arms,
                         {{"users", "users"},
                          {"responses", "responses"},
                          {"hearts", "hearts"},
                          {"love_rate", "love per response", kPercent},
                          {"expected_love_rate", "the same from the users' chances, without the draw", kPercent},
                          {"closing_rate", "responses with a closing phrase", kPercent},
                          {"true_helpfulness", "true helpfulness (0 to 1)"},
                          {"true_safety", "true safety (0 to 1)"},
                          {"length_tokens", "response length (tokens)"}});
  NumberStyle points = kPercentChange;
  points.suffix = " points";
  html += measures_table(comparison_names(comparisons), comparisons,
                         {{"love_rate_lift", "lift of love per response", kPercentChange},
                          {"expected_love_rate_lift", "lift of the chances", kPercentChange},
                          {"closing_rate_difference", "closings", points},
                          {"true_helpfulness_difference", "true helpfulness", kChange},
                          {"true_safety_difference", "true safety", kChange},
                          {"length_tokens_difference", "response length (tokens)", kChange}});
  std::vector<Picture> pictures;
  for (const auto& [key, title, scale] :
       std::vector<std::tuple<const char*, const char*, double>>{{"love_rate", "Love per response (%)", 100},
                                                                 {"expected_love_rate", "Love, by chances (%)", 100},
                                                                 {"closing_rate", "Closings (% of responses)", 100},
                                                                 {"length_tokens", "Response length (tokens)", 1},
                                                                 {"true_helpfulness", "True helpfulness", 1},
                                                                 {"true_safety", "True safety", 1}})
    pictures.push_back({.title = title,
                        .series = {bars_of("95 % interval", arms, key, scale)},
                        .kind = PictureKind::kBars,
                        .x_names = names_of(arms)});
  html += picture_grid(pictures);
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : list_of(ab, "users_needed"))
    rows.push_back({row.at("effect"), figure_text(row.at("base_rate"), kPercent),
                    figure_text(row.at("lift"), kPercentChange), figure_text(row.at("responses_per_arm")),
                    figure_text(row.at("users_per_arm"))});
  html += "<h3>Users needed</h3>\n<p>To see an effect with two-sided alpha " + figure_text(ab.at("alpha")) +
          " and power " + figure_text(ab.at("power")) + ", at this test's " + figure_text(ab.at("responses_per_user")) +
          " responses a user and its design effect. It had about " +
          figure_text(ab.at("users").get<double>() / static_cast<double>(arms.size())) + " users an arm.</p>\n" +
          html_table({"effect", "base rate", "lift", "responses an arm", "users an arm"}, rows);
  return html;
}

}  // namespace

std::string validation_section(const RunDirectory& directory) {
  if (!directory.has_table("validation")) return missing_stage("validate");
  const Json table = directory.read_table("validation");
  std::string html = table.at("ab").is_object() ? ab_part(table["ab"]) : "";
  if (table.at("prompts").get<std::int64_t>() > 0) html += held_out_part(table);
  if (table.at("offline_online").is_object()) {
    const Json& agreement = table["offline_online"];
    html +=
        "<h3>Does the offline score foretell the A/B test?</h3>\n<p>Mean P[Love] on held-out prompts against love "
        "per response, over the arms: " +
        html_escaped(agreement.at("love_rate").at("sentence").get<std::string>()) +
        ". Against the chances: " + html_escaped(agreement.at("expected_love_rate").at("sentence").get<std::string>()) +
        ".</p>\n";
  }
  return html + paper_says(
                    "love +9.73 % at weight 0.1 and +28 % at 0.3 in live A/B tests; \"bye\" in 0.72 % of "
                    "utterances at the baseline and 2.8 % at weight 0.3, with conversations closed too early; "
                    "helpfulness and safety maintained (no numbers published).");
}

}  // namespace rluf
