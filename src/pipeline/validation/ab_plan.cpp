#include "rluf/pipeline/validation/ab_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <unordered_map>

#include "rluf/core/error.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/signals/interaction.hpp"
#include "rluf/pipeline/validation/ab_statistics.hpp"
#include "rluf/statistics/power.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct LoggedEvent {
  std::int64_t user, timestamp;
  bool event;
};

/// What every user did in a part of the log. @shape both [num_users]
struct UserCounts {
  explicit UserCounts(std::size_t num_users) : events(num_users, 0.0), responses(num_users, 0.0) {}
  void add(const LoggedEvent& row) {
    events[static_cast<std::size_t>(row.user)] += row.event ? 1 : 0;
    responses[static_cast<std::size_t>(row.user)] += 1;
  }
  std::vector<double> events, responses;
};

/// Between what users of the second half did in the first and in the second, both as N - R D.
double half_correlation(const std::vector<LoggedEvent>& rows, std::size_t num_users, std::int64_t middle) {
  UserCounts before(num_users), after(num_users);
  for (const LoggedEvent& row : rows) (row.timestamp < middle ? before : after).add(row);
  const double rate_before = ratio_of_sums(before.events, before.responses).value,
               rate_after = ratio_of_sums(after.events, after.responses).value;
  std::vector<double> x, y;
  for (std::size_t user = 0; user < num_users; ++user) {
    if (after.responses[user] == 0) continue;
    x.push_back(before.events[user] - (before.responses[user] > 0 ? rate_before * before.responses[user] : 0));
    y.push_back(after.events[user] - rate_after * after.responses[user]);
  }
  return x.size() < 3 ? kNaN : pearson(x, y);
}

/// The option, else what the log says, else `otherwise`.
double given(double option, const std::optional<LogTraffic>& log, double LogTraffic::*figure, double otherwise) {
  return option > 0 ? option : log ? (*log).*figure : otherwise;
}

AbDesign design_of(const AbPlanOptions& options, const std::optional<LogTraffic>& log) {
  AbDesign design{.rate = options.rate > 0 ? options.rate
                          : log            ? log->rate.value
                                           : 0,
                  .responses_per_user = given(options.responses_per_user, log, &LogTraffic::responses_per_user, 1),
                  .design_effect = given(options.design_effect, log, &LogTraffic::design_effect, 1),
                  .alpha = options.alpha,
                  .power = options.power,
                  .cuped_correlation = options.cuped_correlation,
                  .control_share = options.control_share,
                  .arms = options.arms};
  if (design.rate == 0)
    fail_input("plan_ab.rate is not given, and no log", "the users needed depend on the rate above all",
               "set plan_ab.rate, or data.interactions");
  return design;
}

Json effect_row(const AbDesign& design, double lift, double users_per_day) {
  const AbUsers users = users_for(design, lift);
  return {{"lift", lift},
          {"treatment", number_or_null(users.treatment)},
          {"control", number_or_null(users.control)},
          {"total", number_or_null(users.total)},
          {"days", number_or_null(users_per_day > 0 ? std::ceil(users.total / users_per_day) : kNaN)}};
}

Json log_json(const LogTraffic& log) {
  return {{"rows", log.num_rows},
          {"without_signal", log.num_without_signal},
          {"users", log.num_users},
          {"events", log.num_events},
          {"days", log.days},
          {"rate", log.rate.to_json()},
          {"half_correlation", number_or_null(log.half_correlation)}};
}

}  // namespace

void AbPlanOptions::describe(OptionTable& table) {
  table.section("plan_ab",
                "The users and days of an A/B test to come: rluf plan-ab. What is 0 is taken from data.interactions.");
  table.add("rate", &rate, {.text = "events of data.signal per response of the control", .low = 0, .high = 0.999999});
  table.add("responses_per_user", &responses_per_user,
            {.text = "in the time of the test; 0 without a log: 1", .unit = "responses", .low = 0});
  table.add("design_effect", &design_effect,
            {.text = "variance of the rate over users, relative to that of as many independent responses; 0 without a "
                     "log: 1",
             .low = 0});
  table.add(
      "users_per_day", &users_per_day,
      {.text = "different users that a day brings; 0 without a log: no days are told", .unit = "users", .low = 0});
  table.add("lift", &lift,
            {.text = "smallest effect worth seeing, as a share of the rate", .low = -0.999, .high = 1000});
  table.add("lifts", &lifts, {.text = "effects of the table", .low = -0.999, .high = 1000});
  table.add("days", &days, {.text = "durations whose smallest effect is told", .unit = "days", .low = 1e-3});
  table.add("alpha", &alpha,
            {.text = "two-sided error of all comparisons together: each of n treatments gets 1/n of it",
             .low = 1e-6,
             .high = 0.5});
  table.add("power", &power, {.text = "chance to see the effect", .low = 0.5, .high = 0.999999});
  table.add("cuped_correlation", &cuped_correlation,
            {.text = "correlation of users' figures before and in the test, which CUPED takes out",
             .low = -0.999,
             .high = 0.999});
  table.add("arms", &arms, {.text = "with the control", .low = 2, .high = 1000});
  table.add("control_share", &control_share,
            {.text = "of the test's users; treatments share the rest; 0: all arms alike", .low = 0, .high = 0.999});
  table.add("traffic_share", &traffic_share, {.text = "of the day's users who take part", .low = 1e-6, .high = 1});
  table.add("output", &output, {.text = "the table as JSON goes here too", .allow_empty = true});
}

LogTraffic traffic_of_log(const std::string& path, const std::string& signal, std::int64_t max_rows) {
  LogTraffic log;
  std::unordered_map<std::string, std::int64_t> users;
  std::vector<LoggedEvent> rows;
  std::int64_t num_read = 0, first = std::numeric_limits<std::int64_t>::max(),
               last = std::numeric_limits<std::int64_t>::min();
  for_each_row(path, 0, 1, [&](std::int64_t line, const Json& row) {
    if (max_rows > 0 && num_read == max_rows) return;
    ++num_read;
    const std::string user = user_of(row, path, line);
    const std::int64_t time = time_of(row, path, line);
    const Json signals = signals_of(row, path, line);
    if (!signals.contains(signal) || signals[signal].is_null()) {
      ++log.num_without_signal;
      return;
    }
    const bool event = signal_value(signals, signal, path, line) == 1;
    rows.push_back({users.emplace(user, std::ssize(users)).first->second, time, event});
    log.num_events += event ? 1 : 0;
    first = std::min(first, time);
    last = std::max(last, time);
  });
  log.num_rows = num_read;
  log.num_users = std::ssize(users);
  if (log.num_users < 2 || log.num_events == 0 || log.num_events == std::ssize(rows))
    fail_data(concat(path, ": ", log.num_events, " of ", rows.size(), " responses of ", log.num_users,
                     " users have signals.", signal),
              "neither a rate nor its spread can be told", "give another log or data.signal, or set plan_ab.rate");
  UserCounts counts(users.size());
  for (const LoggedEvent& row : rows) counts.add(row);
  const Ratio rate = ratio_of_sums(counts.events, counts.responses);
  log.design_effect = design_effect(rate);
  log.rate = rate_interval(rate, log.design_effect);
  log.days = static_cast<double>(last - first) / 86400;
  log.responses_per_user = static_cast<double>(rows.size()) / static_cast<double>(log.num_users);
  log.users_per_day = log.days > 0 ? static_cast<double>(log.num_users) / log.days : 0;
  log.half_correlation = half_correlation(rows, users.size(), first + (last - first) / 2);
  return log;
}

Json ab_plan_table(const AbPlanOptions& options, const std::optional<LogTraffic>& log) {
  const AbDesign design = design_of(options, log);
  const double users_per_day = given(options.users_per_day, log, &LogTraffic::users_per_day, 0) * options.traffic_share;
  Json effects = Json::array(), durations = Json::array();
  for (const double lift : options.lifts) effects.push_back(effect_row(design, lift, users_per_day));
  for (const double days : options.days)
    if (users_per_day > 0)
      durations.push_back({{"days", days},
                           {"users", std::floor(days * users_per_day)},
                           {"lift", number_or_null(detectable_lift(design, std::floor(days * users_per_day)))}});
  const double other = design.rate * (1 + options.lift);
  return {{"rate", design.rate},
          {"responses_per_user", design.responses_per_user},
          {"design_effect", design.design_effect},
          {"users_per_day", users_per_day > 0 ? Json(users_per_day) : Json(nullptr)},
          {"arms", design.arms},
          {"alpha", design.alpha},
          {"power", design.power},
          {"cuped_correlation", design.cuped_correlation},
          {"share_of_treatment", design.share_of_treatment()},
          {"share_of_control", design.share_of_control()},
          {"z_alpha", design.z_alpha()},
          {"z_power", normal_quantile(design.power)},
          {"control_user_variance", design.user_variance(design.rate)},
          {"treatment_user_variance", other <= 1 ? Json(design.user_variance(other)) : Json(nullptr)},
          {"effect", effect_row(design, options.lift, users_per_day)},
          {"effects", effects},
          {"durations", durations},
          {"log", log ? log_json(*log) : Json(nullptr)}};
}

std::string ab_plan_text(const Json& table) {
  std::string text;
  char line[512];
  const auto print = [&](const char* format, auto... values) {
    std::snprintf(line, sizeof line, format, values...);
    text += line;
  };
  const auto number = [&](const char* key) { return table.at(key).get<double>(); };
  const auto whole = [](const Json& value) { return interval_text(value, 1, 0); };
  if (const Json& log = table.at("log"); log.is_object()) {
    print("the log: %lld rows (%lld without the signal), %lld users in %.1f days, %lld events, rate %s %%\n",
          log.at("rows").get<long long>(), log.at("without_signal").get<long long>(), log.at("users").get<long long>(),
          log.at("days").get<double>(), log.at("events").get<long long>(),
          interval_text(log.at("rate"), 100, 3).c_str());
    if (log.at("half_correlation").is_number())
      print(
          "  users' figures in its two halves correlate by %.3f: CUPED would need x %.3f of the users "
          "(plan_ab.cuped_correlation)\n",
          log["half_correlation"].get<double>(), 1 - std::pow(log["half_correlation"].get<double>(), 2));
  }
  print("rate %.6g a response, %.6g responses a user, design effect %.6g, %lld arms, alpha %g, power %g\n",
        number("rate"), number("responses_per_user"), number("design_effect"), table.at("arms").get<long long>(),
        number("alpha"), number("power"));
  if (table.at("users_per_day").is_number()) print("users a day in the test: %.6g\n", number("users_per_day"));
  const Json& effect = table.at("effect");
  const double lift = effect.at("lift");
  text +=
      "\nvariance of a user   v(p) = p (1 - p) * design effect / responses a user * (1 - correlation^2)\n"
      "users in all         n = (z_alpha + z_power)^2 * (v(rate (1 + lift)) / t + v(rate) / c) / (rate * lift)^2\n"
      "                     t, c: shares of a treatment and of the control; z_alpha = z of 1 - alpha / (2 * "
      "treatments)\n";
  if (effect.at("total").is_number()) {
    print("  v(rate) = %.8g * (1 - %.8g) * %.8g / %.8g * (1 - %.8g^2) = %.8g\n", number("rate"), number("rate"),
          number("design_effect"), number("responses_per_user"), number("cuped_correlation"),
          number("control_user_variance"));
    print("  n = (%.8g + %.8g)^2 * (%.8g / %.8g + %.8g / %.8g) / (%.8g * %.8g)^2 = %.8g\n", number("z_alpha"),
          number("z_power"), number("treatment_user_variance"), number("share_of_treatment"),
          number("control_user_variance"), number("share_of_control"), number("rate"), lift,
          effect.at("total").get<double>());
    print("\nto see %+.4g %%: %s users a treatment, %s in the control, %s in all", 100 * lift,
          whole(effect.at("treatment")).c_str(), whole(effect.at("control")).c_str(),
          whole(effect.at("total")).c_str());
    text += effect.at("days").is_number() ? concat(", ", whole(effect["days"]), " days\n")
                                          : ", in days that plan_ab.users_per_day would tell\n";
  } else {
    print("\n%+.4g %% is no effect that a rate of %.6g can have\n", 100 * lift, number("rate"));
  }
  print("\n  %10s %14s %14s %14s %8s\n", "effect", "a treatment", "control", "in all", "days");
  for (const Json& row : table.at("effects"))
    print("  %+9.4g%% %14s %14s %14s %8s\n", 100 * row.at("lift").get<double>(), whole(row.at("treatment")).c_str(),
          whole(row.at("control")).c_str(), whole(row.at("total")).c_str(), whole(row.at("days")).c_str());
  if (!table.at("durations").empty()) print("\n  %10s %14s %20s\n", "days", "users in all", "smallest rise seen");
  for (const Json& row : table.at("durations"))
    print("  %10.4g %14s %19s%%\n", row.at("days").get<double>(), whole(row.at("users")).c_str(),
          interval_text(row.at("lift"), 100, 2).c_str());
  if (table.at("log").is_object())
    text +=
        "\nUsers and responses a user are carried on as over the log's days; users who come back make a longer test "
        "slower,\nand let each of them count for more.\n";
  return text;
}

}  // namespace rluf
