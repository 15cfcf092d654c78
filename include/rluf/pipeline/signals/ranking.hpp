#pragma once
/// From evidence to a recommendation, by a rule that is written down here. Pure functions.
///
/// Each criterion passes, fails, or cannot be judged, and has a score from 0 to 1:
///   available    events >= needed events, and share of users who gave it >= signals.min_user_share;
///                score min(1, events / needed events)
///   tied         lower bound L of the adjusted odds ratio of retention (Tie::judged) > signals.min_odds_ratio, and
///                the same users are not retained less after it (within-user interval not wholly below 0);
///                score max(0, (L - 1) / (L + 1)), Yule's Q of the lower bound
///   unambiguous  contradiction ratio <= signals.max_contradiction (signals of the other kind with it / without it),
///                drift <= signals.max_drift, share of events from reactors <= signals.max_reactor_share;
///                score max(0, 1 - contradiction ratio) * (1 - reactor share) / (1 + drift)
/// The score of a signal is the product; what cannot be judged counts as 1. Signals are ranked by fewest failed
/// criteria, then most passed, then score, then name. Recommended is the first that is available, has a score above 0
/// (it goes with retention, and contradictions are rarer with it), says that a response was good, and is a field of
/// every row; what it fails is said as a reservation.
#include <string>
#include <vector>

#include "rluf/pipeline/signals/evidence.hpp"

namespace rluf {

enum class Finding { kPassed, kFailed, kMissing };
std::string finding_text(Finding finding);  ///< "yes", "no", "cannot be judged"

struct Criterion {
  Finding finding = Finding::kMissing;
  double score = 1;
  std::string reason;  ///< figures that decided
};

struct Judgement {
  std::size_t signal = 0;  ///< which of the evidence
  Criterion available, tied, unambiguous;
  double score = 0;
  int passed = 0, failed = 0;
};
Judgement judge(const SignalEvidence& evidence, const SignalOptions& options);
/// Best first.
std::vector<Judgement> rank_signals(const std::vector<SignalEvidence>& evidence, const SignalOptions& options);

struct Recommendation {
  std::string signal;            ///< empty: none can be recommended
  std::string reason;            ///< in sentences
  bool has_reservation = false;  ///< it fails a criterion
};
/// @shape ranking: of rank_signals on this evidence
Recommendation recommend(const std::vector<Judgement>& ranking, const std::vector<SignalEvidence>& evidence);

}  // namespace rluf
