// The comparison as JSON and as lines of text.
#include <cmath>
#include <iomanip>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/signals/compare_signals.hpp"
#include "short_text.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

/// Listed in the table; data/signals.json has all.
constexpr std::size_t kReactorsShown = 20;

Json figure(const Interval& interval, const std::string& reason = "undefined: too few events") {
  Json json = interval.to_json();
  if (json["value"].is_null()) json["reason"] = reason;
  return json;
}

Json criterion_json(const Criterion& criterion) {
  return {{"passed", finding_text(criterion.finding)}, {"score", criterion.score}, {"reason", criterion.reason}};
}

Json parts_json(const std::vector<PartRate>& parts) {
  Json list = Json::array();
  for (const PartRate& part : parts)
    list.push_back({{"name", part.name},
                    {"events", part.events},
                    {"responses", part.responses},
                    {"rate", figure(part.rate, "undefined: no responses")}});
  return list;
}

Json availability_json(const Availability& available) {
  return {{"events", available.events},
          {"responses", available.responses},
          {"capped", available.capped},
          {"rate", figure(available.rate)},
          {"users", available.users},
          {"users_with", available.users_with},
          {"user_share", figure(available.user_share)},
          {"design_effect", number_or_null(available.design_effect)},
          {"needed_events", number_or_null(available.needed_events)},
          {"needed_responses", number_or_null(available.needed_responses)},
          {"needed_users", number_or_null(available.needed_users)},
          {"use_cases", parts_json(available.use_cases)}};
}

Json contrast_json(const Contrast& contrast) {
  return {{"with", figure(contrast.with)},
          {"without", figure(contrast.without)},
          {"difference", figure(contrast.difference)},
          {"ratio", figure(contrast.ratio)},
          {"phi", number_or_null(contrast.phi)},
          {"both", contrast.both},
          {"responses_with", contrast.num_with},
          {"responses_without", contrast.num_without}};
}

Json model_json(const RetentionModel& model) {
  const std::string reason = "undefined: " + model.missing;
  return {{"missing", model.missing.empty() ? Json(nullptr) : Json(model.missing)},
          {"adjusted_for", model.adjusted_for},
          {"odds_ratio", figure(model.odds_ratio, reason)},
          {"p", number_or_null(model.p)},
          {"difference", figure(model.difference, reason)}};
}

Json tie_json(const Tie& tie) {
  const std::string reason = "undefined: " + tie.missing;
  return {{"missing", tie.missing.empty() ? Json(nullptr) : Json(tie.missing)},
          {"judged_by", &tie.judged() == &tie.users ? "users" : "responses"},
          {"odds_ratio", figure(tie.judged().odds_ratio, reason)},
          {"p", number_or_null(tie.judged().p)},
          {"adjusted_difference", figure(tie.judged().difference, reason)},
          {"users", model_json(tie.users)},
          {"responses", model_json(tie.responses)},
          {"retention", contrast_json(tie.after)},
          {"user_difference", figure(tie.user_difference)},
          {"within_user", figure(tie.within_user)},
          {"within_users", tie.within_users},
          {"within_return", figure(tie.within_return)},
          {"within_return_users", tie.within_return_users}};
}

Json reactors_json(const std::vector<Reactor>& reactors) {
  Json list = Json::array();
  for (const Reactor& reactor : reactors) {
    if (list.size() == kReactorsShown) break;
    list.push_back({{"user", user_text(reactor.user)},
                    {"responses", reactor.responses},
                    {"events", reactor.events},
                    {"expected", reactor.expected},
                    {"p", reactor.p},
                    {"keeps", reactor.keeps}});
  }
  return list;
}

Json unambiguity_json(const Unambiguity& u, std::int64_t events) {
  Json companions = Json::array();
  for (const Companion& companion : u.companions) {
    Json json = contrast_json(companion.contrast);
    json["name"] = companion.name;
    companions.push_back(json);
  }
  return {{"missing", u.missing.empty() ? Json(nullptr) : Json(u.missing)},
          {"opposite", contrast_json(u.opposite)},
          {"next_negative", contrast_json(u.next_negative)},
          {"companions", companions},
          {"slices", parts_json(u.slices)},
          {"drift", u.drift.relative},
          {"drift_chi_square", u.drift.statistic},
          {"drift_degrees_of_freedom", u.drift.degrees_of_freedom},
          {"drift_p", u.drift.p},
          {"half_ratio", figure(u.half_ratio)},
          {"gini", number_or_null(u.gini)},
          {"top_1_percent_share", number_or_null(u.top_share)},
          {"icc", number_or_null(u.icc)},
          {"reactors", u.reactors.size()},
          {"reactor_events", u.reactor_events},
          {"reactor_share",
           events > 0 ? Json(static_cast<double>(u.reactor_events) / static_cast<double>(events)) : Json(nullptr)},
          {"reactor_list", reactors_json(u.reactors)}};
}

/// Cells in columns as wide as their longest.
std::string columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto& row : rows) {
    text += "\n ";
    for (std::size_t i = 0; i < row.size(); ++i)
      text += " " + row[i] + (i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 1, ' ') : "");
  }
  return text;
}

}  // namespace

nlohmann::json signals_table(const UserLog& log, const std::vector<SignalEvidence>& evidence,
                             const std::vector<Judgement>& ranking, const Recommendation& recommendation) {
  Json signals = Json::array(), left_out = Json::array();
  for (const Judgement& judgement : ranking) {
    const SignalEvidence& one = evidence[judgement.signal];
    signals.push_back({{"name", one.name},
                       {"place", signals.size() + 1},
                       {"kind", one.is_logged ? "logged" : "derived"},
                       {"says", one.is_negative ? "bad" : "good"},
                       {"in_every_row", one.is_everywhere},
                       {"score", judgement.score},
                       {"available", criterion_json(judgement.available)},
                       {"tied", criterion_json(judgement.tied)},
                       {"unambiguous", criterion_json(judgement.unambiguous)},
                       {"availability", availability_json(one.available)},
                       {"tie", tie_json(one.tie)},
                       {"unambiguity", unambiguity_json(one.unambiguous, one.available.events)}});
  }
  for (const auto& [name, count] : log.not_binary)
    left_out.push_back({{"name", name}, {"reason", concat("neither 0 nor 1 in ", count, " rows")}});
  return {{"read", log.read},
          {"duplicates", log.duplicates},
          {"used", log.read - log.duplicates},
          {"first_time", log.first_time},
          {"last_time", log.last_time},
          {"use_cases", log.use_cases.empty() ? Json("missing: no row has a use_case") : Json(log.use_cases)},
          {"left_out", left_out},
          {"signals", signals},
          {"recommended", recommendation.signal.empty() ? Json(nullptr) : Json(recommendation.signal)},
          {"reason", recommendation.reason}};
}

std::string signals_text(const UserLog& log, const std::vector<SignalEvidence>& evidence,
                         const std::vector<Judgement>& ranking, const Recommendation& recommendation) {
  std::string text = concat("signals: ", log.read, " rows read, ", log.duplicates, " exact duplicates dropped, ",
                            log.read - log.duplicates, " used");
  std::vector<std::vector<std::string>> rows{
      {"signal", "available", "tied", "unambiguous", "score", "rate in %", "users in %", "events (needed)",
       "odds ratio of retention", "within user, points", "contradictions, ratio", "drift", "reactors' share"}};
  const auto word = [](const Criterion& criterion) {
    return criterion.finding == Finding::kMissing ? std::string("?") : finding_text(criterion.finding);
  };
  for (const Judgement& judgement : ranking) {
    const SignalEvidence& one = evidence[judgement.signal];
    const Availability& a = one.available;
    rows.push_back({one.name + (one.is_logged ? "" : "*") + (one.is_negative ? " (bad)" : ""),
                    word(judgement.available), word(judgement.tied), word(judgement.unambiguous),
                    short_text(judgement.score), short_text(a.rate, 100), short_text(100 * a.user_share.value),
                    concat(a.events, " (", short_text(a.needed_events), ")"), short_text(one.tie.judged().odds_ratio),
                    short_text(one.tie.within_user, 100), short_text(one.unambiguous.opposite.ratio),
                    short_text(one.unambiguous.drift.relative),
                    short_text(static_cast<double>(one.unambiguous.reactor_events) / static_cast<double>(a.events))});
  }
  text += columns(rows) + "\n  (*: derived, no label in the log; intervals are clustered by user)";
  std::set<std::string> missing;
  for (const SignalEvidence& one : evidence) {
    if (one.available.events == 0) continue;
    if (!one.tie.missing.empty()) missing.insert(concat(one.name, ", tied: ", one.tie.missing));
    if (!one.unambiguous.missing.empty()) missing.insert(concat(one.name, ", unambiguous: ", one.unambiguous.missing));
  }
  if (log.use_cases.empty()) text += "\n  not judged: rates by use case (no row has a use_case)";
  for (const std::string& line : missing) text += "\n  not judged: " + line;
  for (const auto& [name, count] : log.not_binary)
    text += concat("\n  left out: ", name, ", neither 0 nor 1 in ", count, " rows");
  return text + concat("\nsignals: ", recommendation.signal.empty() ? "none recommended. " : "recommended: ",
                       recommendation.reason);
}

}  // namespace rluf
