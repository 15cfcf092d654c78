#include "rluf/pipeline/validation/validate.hpp"

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/evaluation/statistics.hpp"
#include "rluf/pipeline/sft/sft.hpp"
#include "rluf/pipeline/validation/ab_test.hpp"
#include "rluf/pipeline/validation/held_out.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// What exists of models and world. @collective
Yardstick load_yardstick(const Arm& reference, const PolicyOptions& policy, const StageContext& context) {
  Yardstick yardstick;
  guarded(context.grid.world, [&] {
    for (const char* name : {"love", "helpfulness", "safety"})
      if (std::filesystem::exists(context.directory.model(name) + "/config.json"))
        yardstick.rewards.emplace(
            name, RewardModel::load(context.directory.model(name), context.model, context.device, context.layout()));
    yardstick.reference.emplace(Llama::load(reference.folder, context.device, 0, 0, context.layout()));
    yardstick.reference->set_compute_type(compute_type(context.model));
    yardstick.closing_phrases = phrase_list(policy.closing_phrases);
    const std::string world = context.directory.path() + "/world/world.json";
    if (context.run.simulate && std::filesystem::exists(world)) yardstick.world = World::from_file(world);
  });
  return yardstick;
}

/// One rate of the A/B test, arm by arm.
std::vector<double> rates_of(const Json& ab_arms, const char* rate) {
  std::vector<double> rates;
  for (const Json& arm : ab_arms) rates.push_back(arm.at(rate).at("value").get<double>());
  return rates;
}

struct Column {
  const char *key, *head;
  double scale;
  int digits;
};

std::string lines_of(const Json& rows, const std::vector<Column>& columns) {
  std::string text;
  for (const Json& row : rows) {
    text += "\n  " + row["name"].get<std::string>();
    if (row.contains("to")) text += " - " + row["to"].get<std::string>();
    text += ":";
    for (const Column& column : columns)
      if (row.contains(column.key))
        text += concat(" ", column.head, " ", interval_text(row[column.key], column.scale, column.digits), ";");
    if (text.back() == ';') text.pop_back();
  }
  return text;
}

void print_tables(const Json& table) {
  if (table["prompts"].get<int>() > 0)
    log_info(concat("validate: ", table["prompts"].dump(), " held-out prompts, 95 % intervals",
                    lines_of(table["arms"], {{"love_probability", "P[Love] %", 100, 3},
                                             {"helpfulness_reward", "helpfulness", 1, 3},
                                             {"safety_reward", "safety", 1, 3},
                                             {"closing_rate", "closings %", 100, 2},
                                             {"length_tokens", "tokens", 1, 1},
                                             {"kl", "KL nats", 1, 2},
                                             {"true_love_rate", "true love %", 100, 3}})));
  if (!table["ab"].is_object()) return;
  const Json& ab = table["ab"];
  char text[200];
  std::snprintf(text, sizeof text, "validate: A/B test, %.0f users, %.0f responses, sample ratio p = %.3f",
                ab["users"].get<double>(), ab["responses"].get<double>(), ab["sample_ratio"]["p"].get<double>());
  log_info(concat(text,
                  lines_of(ab["arms"], {{"love_rate", "love %", 100, 3},
                                        {"expected_love_rate", "by chances %", 100, 3},
                                        {"closing_rate", "closings %", 100, 2},
                                        {"true_helpfulness", "true helpfulness", 1, 3},
                                        {"true_safety", "true safety", 1, 3}}),
                  lines_of(ab["comparisons"], {{"love_rate_lift", "love lift %", 100, 1},
                                               {"expected_love_rate_lift", "by chances %", 100, 1}})));
  for (const Json& row : ab["users_needed"])
    if (row["users_per_arm"].is_number())
      log_info(concat("  users an arm to see ", row["effect"].get<std::string>(), ": ",
                      static_cast<std::int64_t>(row["users_per_arm"].get<double>())));
  if (table["offline_online"].is_object())
    log_info(concat("  ", table["offline_online"]["expected_love_rate"]["sentence"].get<std::string>(),
                    " (arms of the A/B test, by chances)"));
}

}  // namespace

void run_validate(const ValidationOptions& given, const PolicyOptions& policy, const AlarmOptions& alarms,
                  const DataOptions& data, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  ValidationOptions options = given;
  if (options.max_new_tokens == 0) options.max_new_tokens = policy.max_new_tokens;
  std::vector<Arm> arms;
  guarded(comm, [&] { arms = find_arms(policy, context); });
  const Yardstick yardstick = load_yardstick(arms.front(), policy, context);
  HeldOutComparison held_out(yardstick, options, alarms, data, context);
  const bool with_ab = options.ab && yardstick.world.has_value();
  std::vector<AbArm> ab_arms;
  const auto num_arms = static_cast<std::int64_t>(arms.size());
  for (std::int64_t position = 0; position < num_arms; ++position) {
    const Arm& arm = arms[static_cast<std::size_t>(position)];
    const ArmModel model(arm, options, data, context);
    held_out.add(arm, model);
    if (!with_ab) continue;
    ab_arms.push_back(run_ab_arm(arm, model, position, num_arms, yardstick, options, context));
    if (ab_arms.back().responses.size() < 2)
      fail_input(concat("the A/B test has ", ab_arms.back().responses.size(), " users for ", arm.name),
                 "a variance over users needs at least two", "raise validate.ab_users");
  }
  guarded(comm, [&] {
    Json table = held_out.table();
    table["ab"] = with_ab ? ab_table(ab_arms, options) : Json(nullptr);
    table["offline_online"] = nullptr;
    if (with_ab && held_out.num_prompts() > 0 && yardstick.rewards.contains("love")) {
      std::vector<double> offline;
      std::vector<std::string> names;
      for (const ArmMeasures& arm : held_out.arms())
        offline.push_back(moments(arm.by_prompt.at("love_probability")).mean);
      const Json& rows = table["ab"]["arms"];
      for (const Json& row : rows) names.push_back(row.at("name"));
      table["offline_online"] = {
          {"love_rate", offline_online_agreement(offline, rates_of(rows, "love_rate"), names)},
          {"expected_love_rate", offline_online_agreement(offline, rates_of(rows, "expected_love_rate"), names)}};
    }
    print_tables(table);
    context.directory.write_table("validation", table);
  });
}

}  // namespace rluf
