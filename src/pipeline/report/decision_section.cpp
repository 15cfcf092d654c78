// The answers that a release is decided on, each a sentence with a link to where it comes from.
#include "rluf/core/error.hpp"
#include "rluf/pipeline/report/page.hpp"
#include "sections.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

const NumberStyle kPercentChange{.scale = 100, .suffix = " %", .sign = true};
const NumberStyle kChange{.sign = true};

std::string about_signal(const RunDirectory& directory) {
  if (!directory.has_table("signals")) return "";
  const Json table = directory.read_table("signals");
  if (!table.contains("reason")) return "";
  return table.at("reason").get<std::string>();
}

std::string about_models(const RunDirectory& directory) {
  std::string text;
  if (directory.has_table("reward_love")) {
    const Json metrics = directory.read_table("reward_love").at("metrics");
    text = "P[Love]: AUROC " + figure_text(metrics.at("auroc")) + ", ECE " + figure_text(metrics.at("ece_corrected"));
  }
  for (const std::string name : {"helpfulness", "safety"})
    if (directory.has_table("reward_" + name))
      text += concat(text.empty() ? "" : "; ", name, ": pairs ranked right ",
                     figure_text(directory.read_table("reward_" + name).at("metrics").at("pair_accuracy"),
                                 {.scale = 100, .suffix = " %"}));
  return text;
}

std::string about_hacking(const RunDirectory& directory) {
  if (!directory.has_table("validation")) return "";
  std::string text;
  for (const Json& arm : list_of(directory.read_table("validation"), "alarms"))
    for (const Json& alarm : arm.at("alarms"))
      text += concat(text.empty() ? "" : "; ", arm.at("name").get<std::string>(), ": ",
                     alarm.at("sentence").get<std::string>());
  return text.empty() ? "No alarm on held-out prompts." : text + ".";
}

std::string policies_table(const Json& recommendation) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& policy : recommendation.at("policies")) {
    std::string guardrails;
    for (const Json& verdict : policy.at("guardrails"))
      guardrails += concat(guardrails.empty() ? "" : "; ", verdict.at("sentence").get<std::string>());
    rows.push_back({policy.at("name"), figure_text(policy.at("love_weight")),
                    figure_text(policy.at("love"), kPercentChange), figure_text(policy.at("helpfulness"), kChange),
                    figure_text(policy.at("safety"), kChange), figure_text(policy.at("closings"), kPercentChange),
                    policy.at("passes").get<bool>() ? "pass" : "stop", guardrails,
                    policy.at("on_front").get<bool>() ? "yes" : "no"});
  }
  return html_table({"policy", "love weight", "love", "helpfulness", "safety", "closings, points", "guardrails", "why",
                     "on the front"},
                    rows);
}

/// "phrase in round 10, closing_rate in round 20", with what the alarms did to the love weight.
std::string alarms_text(const Json& facts) {
  std::string text;
  for (const Json& alarm : facts.at("alarms"))
    text += concat(text.empty() ? "" : ", ", alarm.at("name").get<std::string>(), " in round ",
                   alarm.at("round").get<std::int64_t>());
  const double factor = facts.value("love_factor", 1.0);
  if (factor < 1) text += concat("; love weight times ", factor, " at the end");
  return text.empty() ? "none" : text;
}

/// When alarms rang in training, and what came of each setting on held-out prompts.
std::string settings_part(const Json& sweep) {
  const std::vector<std::tuple<const char*, const char*, NumberStyle>> columns{
      {"closing_rate", "closings", {.scale = 100, .suffix = " %"}},
      {"love_probability", "mean P[Love]", {.scale = 100, .suffix = " %"}},
      {"helpfulness_reward", "helpfulness reward", {}},
      {"true_love_rate", "true love", {.scale = 100, .suffix = " %"}},
      {"true_helpfulness", "true helpfulness", {}},
      {"true_safety", "true safety", {}}};
  std::vector<std::string> head{"setting", "love weight", "alarms in training"};
  for (const auto& [key, title, style] : columns)
    if (sweep.at("reference").contains(key)) head.emplace_back(title);
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, const Json& weight, const std::string& alarms, const Json& figures) {
    rows.push_back({name, figure_text(weight), alarms});
    for (const auto& [key, title, style] : columns)
      if (sweep.at("reference").contains(key)) rows.back().push_back(figure_text(figures.value(key, Json()), style));
  };
  const auto name_of = [](const Json& facts) {
    const std::string setting = facts.at("setting"), point = facts.at("point");
    return setting.empty() ? point : setting;
  };
  add("reference", nullptr, "-", sweep.at("reference"));
  for (const Json& policy : sweep.at("policies"))
    add(name_of(policy), policy.at("love_weight"), alarms_text(policy), policy.at("held_out"));
  for (const Json& point : sweep.at("stopped_by_alarms"))
    add(name_of(point), nullptr, alarms_text(point) + ": stopped there", Json::object());
  return "<h3>What each setting did</h3>\n<p>Alarms by the first round at whose look they rang; the others on held-out "
         "prompts, with 95 % intervals. What is true is known in a simulated world only.</p>\n" +
         html_table(head, rows);
}

/// What each policy gained in love against what it paid, one picture a guardrail.
std::string front_pictures(const Json& recommendation) {
  std::vector<Picture> pictures;
  for (const auto& [key, scale] :
       std::vector<std::pair<std::string, double>>{{"helpfulness", 1}, {"safety", 1}, {"closings", 100}}) {
    Picture picture{.title = "Love against " + key,
                    .x_label = "change of love (%)",
                    .y_label = "change of " + key + (scale == 100 ? " (points)" : ""),
                    .series = {{.title = recommendation.at("control"), .x = {0}, .y = {0}, .low = {0}, .high = {0}}},
                    .kind = PictureKind::kPoints};
    for (const Json& policy : recommendation.at("policies")) {
      const Json &love = policy.at("love"), &paid = policy.at(key);
      if (!love.at("value").is_number() || !paid.contains("low")) continue;
      picture.series.push_back({.title = policy.at("name"),
                                .x = {100 * love.at("value").get<double>()},
                                .y = {scale * paid.at("value").get<double>()},
                                .low = {scale * paid.at("low").get<double>()},
                                .high = {scale * paid.at("high").get<double>()}});
    }
    if (picture.series.size() > 1) pictures.push_back(std::move(picture));
  }
  return pictures.empty() ? "" : picture_grid(pictures);
}

}  // namespace

std::string policies_part(const Json& recommendation) {
  return "<h3>What the policies gained and lost, against " +
         html_escaped(recommendation.at("control").get<std::string>()) +
         "</h3>\n<p>A guardrail ([guardrails]) holds if the 95 % interval rules its margin out.</p>\n" +
         policies_table(recommendation) + front_pictures(recommendation);
}

std::string sweep_section(const RunDirectory& directory) {
  const Json sweep = directory.read_table("sweep");
  std::string html = "<p>" + html_escaped(sweep.at("sentence").get<std::string>()) + ". The best of " +
                     figure_text(sweep.at("policies").size()) +
                     " was chosen by these same figures: expect some of its gain to be luck, and confirm it on new "
                     "prompts.</p>\n";
  for (const Json& point : sweep.at("stopped_by_alarms"))
    html +=
        "<p class=\"missing\">Stopped by an alarm: " + html_escaped(point.at("point").get<std::string>()) + ".</p>\n";
  for (const Json& rung : sweep.at("rungs")) {
    std::string names;
    for (const Json& name : rung.at("go_on")) names += (names.empty() ? "" : ", ") + name.get<std::string>();
    html += "<p>After " + figure_text(rung.at("rounds")) + " rounds " + figure_text(rung.at("policies")) +
            " policies were compared; these went on: " + html_escaped(names) + ".</p>\n";
  }
  return html + settings_part(sweep) + policies_part(sweep);
}

std::string decision_section(const RunDirectory& directory) {
  const Json recommendation =
      directory.has_table("recommendation") ? directory.read_table("recommendation") : Json(nullptr);
  std::vector<std::vector<std::string>> rows;
  const auto answer = [&](const std::string& question, const std::string& text) {
    if (!text.empty()) rows.push_back({question, text});
  };
  answer("Which signal?", about_signal(directory));
  answer("How good are the models?", about_models(directory));
  answer("Was it hacked?", about_hacking(directory));
  if (recommendation.is_object()) answer("Should it ship?", recommendation.at("sentence"));
  if (directory.has_table("sweep")) answer("Which setting?", directory.read_table("sweep").at("sentence"));
  if (rows.empty()) return "<p class=\"missing\">No stage has been run yet.</p>\n";
  std::string html = html_table({"question", "answer"}, rows);
  return recommendation.is_object() ? html + policies_part(recommendation) : html;
}

}  // namespace rluf
