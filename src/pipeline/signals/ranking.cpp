#include "rluf/pipeline/signals/ranking.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "rluf/core/error.hpp"
#include "short_text.hpp"

namespace rluf {
namespace {

std::string percent(double share) { return short_text(100 * share) + " %"; }

/// Passed if nothing failed; the reasons of all parts.
class Parts {
 public:
  void add(bool passed, const std::string& reason) {
    (passed ? good_ : bad_) += (passed ? good_ : bad_).empty() ? reason : ", " + reason;
  }
  Criterion criterion(double score) const {
    return {bad_.empty() ? Finding::kPassed : Finding::kFailed, score, bad_.empty() ? good_ : bad_};
  }

 private:
  std::string good_, bad_;
};

Criterion availability(const Availability& available, const SignalOptions& options) {
  const auto events = static_cast<double>(available.events);
  const bool constant = !std::isfinite(available.needed_events);  // given to every response: nothing to compare with
  if (constant) return {Finding::kFailed, 0, "it is given to every response"};
  Parts parts;
  parts.add(events >= available.needed_events,
            concat(available.events, " events of ", short_text(available.needed_events), " needed"));
  parts.add(available.user_share.value >= options.min_user_share,
            concat(percent(available.user_share.value), " of the users gave it"));
  return parts.criterion(std::min(1.0, events / available.needed_events));
}

Criterion tie(const Tie& tie, const SignalOptions& options) {
  if (!tie.missing.empty()) return {Finding::kMissing, 1, tie.missing};
  const Interval& odds_ratio = tie.judged().odds_ratio;
  const double low = odds_ratio.low;
  Parts parts;
  parts.add(low > options.min_odds_ratio, concat("odds ratio of retention ", short_text(odds_ratio)));
  if (tie.within_user.high < 0)
    parts.add(false, concat("the same users are retained less after it, by ", short_text(tie.within_user)));
  return parts.criterion(std::max(0.0, (low - 1) / (low + 1)));
}

Criterion unambiguity(const SignalEvidence& evidence, const SignalOptions& options) {
  const Unambiguity& u = evidence.unambiguous;
  const double share = evidence.available.events == 0
                           ? 0
                           : static_cast<double>(u.reactor_events) / static_cast<double>(evidence.available.events);
  double ratio = 0;
  Parts parts;
  if (u.missing.empty()) {
    ratio = u.opposite.with.value / u.opposite.without.value;
    parts.add(ratio <= options.max_contradiction,
              concat("signals of the other kind come with it ", short_text(ratio), " times as often as without it"));
  }
  parts.add(u.drift.relative <= options.max_drift, concat("drift over time ", percent(u.drift.relative)));
  parts.add(share <= options.max_reactor_share, concat(percent(share), " from users beyond chance"));
  Criterion criterion = parts.criterion(std::max(0.0, 1 - ratio) * (1 - share) / (1 + u.drift.relative));
  if (!u.missing.empty() && criterion.finding == Finding::kPassed) {
    criterion.finding = Finding::kMissing;
    criterion.reason = u.missing + "; " + criterion.reason;
  }
  return criterion;
}

std::vector<const Criterion*> criteria_of(const Judgement& judgement) {
  return {&judgement.available, &judgement.tied, &judgement.unambiguous};
}

/// "available (...), tied (...)" of those with a finding.
std::string criteria_text(const Judgement& judgement, Finding finding) {
  static const char* const names[] = {"available", "tied to retention", "unambiguous"};
  std::string text;
  const auto criteria = criteria_of(judgement);
  for (std::size_t i = 0; i < criteria.size(); ++i)
    if (criteria[i]->finding == finding)
      text += concat(text.empty() ? "" : "; ", names[i], " (", criteria[i]->reason, ")");
  return text;
}

/// Why a signal cannot be the label, whatever its score; empty: it can.
std::string obstacle(const SignalEvidence& evidence) {
  if (evidence.is_negative) return "says that a response was bad";
  if (!evidence.is_logged) return "is derived: no row holds it as a label";
  if (!evidence.is_everywhere) return "is missing in some rows";
  return "";
}

}  // namespace

std::string finding_text(Finding finding) {
  return finding == Finding::kPassed ? "yes" : finding == Finding::kFailed ? "no" : "cannot be judged";
}

Judgement judge(const SignalEvidence& evidence, const SignalOptions& options) {
  if (evidence.available.events == 0) {
    const Criterion never{Finding::kFailed, 0, "it never occurs"};
    return {.available = never, .tied = never, .unambiguous = never, .score = 0, .passed = 0, .failed = 3};
  }
  Judgement judgement{.available = availability(evidence.available, options),
                      .tied = tie(evidence.tie, options),
                      .unambiguous = unambiguity(evidence, options)};
  judgement.score = 1;
  for (const Criterion* criterion : criteria_of(judgement)) {
    judgement.score *= criterion->score;
    judgement.passed += criterion->finding == Finding::kPassed;
    judgement.failed += criterion->finding == Finding::kFailed;
  }
  return judgement;
}

std::vector<Judgement> rank_signals(const std::vector<SignalEvidence>& evidence, const SignalOptions& options) {
  std::vector<Judgement> ranking;
  for (std::size_t i = 0; i < evidence.size(); ++i) {
    ranking.push_back(judge(evidence[i], options));
    ranking.back().signal = i;
  }
  std::sort(ranking.begin(), ranking.end(), [&](const Judgement& a, const Judgement& b) {
    return std::make_tuple(a.failed, -a.passed, -a.score, evidence[a.signal].name) <
           std::make_tuple(b.failed, -b.passed, -b.score, evidence[b.signal].name);
  });
  return ranking;
}

Recommendation recommend(const std::vector<Judgement>& ranking, const std::vector<SignalEvidence>& evidence) {
  std::string passed_over;
  std::vector<const Judgement*> labels;  // what could be a label, best first
  for (const Judgement& judgement : ranking) {
    const std::string why = obstacle(evidence[judgement.signal]);
    if (why.empty()) labels.push_back(&judgement);
    if (!why.empty() && labels.empty())
      passed_over += concat(" ", evidence[judgement.signal].name, " ranks before it, but ", why, ".");
  }
  if (labels.empty()) return {"", "No field of signals{} says that a response was good in every row."};
  const auto is_usable = [](const Judgement* judgement) {
    return judgement->available.finding == Finding::kPassed && judgement->score > 0;
  };
  const auto best = std::find_if(labels.begin(), labels.end(), is_usable);
  if (best == labels.end())
    return {"", concat("No signal can be learned from; ", evidence[labels[0]->signal].name,
                       " comes nearest, but is not ", criteria_text(*labels[0], Finding::kFailed), ".", passed_over)};
  const std::string failed = criteria_text(**best, Finding::kFailed),
                    missing = criteria_text(**best, Finding::kMissing);
  std::string reason = concat(evidence[(*best)->signal].name, ", score ", short_text((*best)->score), ": it is ",
                              criteria_text(**best, Finding::kPassed), ".");
  if (!failed.empty()) reason += concat(" With a reservation: it is not ", failed, ".");
  if (!missing.empty()) reason += concat(" Not judged: ", missing, ".");
  const auto next = std::find_if(labels.begin(), labels.end(), [&](const Judgement* other) { return other != *best; });
  if (next != labels.end()) {
    const std::string lacks = criteria_text(**next, Finding::kFailed);
    reason += concat(" Next is ", evidence[(*next)->signal].name, ", score ", short_text((*next)->score),
                     lacks.empty() ? "" : concat(": it is not ", lacks), ".");
  }
  return {evidence[(*best)->signal].name, reason + passed_over, !failed.empty()};
}

}  // namespace rluf
