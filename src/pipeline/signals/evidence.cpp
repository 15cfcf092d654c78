#include "rluf/pipeline/signals/evidence.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reactors.hpp"
#include "rluf/statistics/distributions.hpp"
#include "tally.hpp"
#include "tie.hpp"

namespace rluf {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kTopUsers = 0.01;

/// Bits of the signals that say that a response was bad.
std::uint64_t negative_bits(const UserLog& log, const SignalOptions& options) {
  std::uint64_t bits = 0;
  for (std::size_t s = 0; s < log.signals.size(); ++s)
    if (log.signals[s] == "follow_up_complaint" ||
        std::find(options.negative.begin(), options.negative.end(), log.signals[s]) != options.negative.end())
      bits |= std::uint64_t{1} << s;
  return bits;
}

PartRate part_rate(const std::string& name, const CountMoments& moments, double usual_effect, double confidence) {
  return {name, moments.sum(0), moments.sum(1), rate_interval(rate_of(moments, 0, 1), usual_effect, confidence)};
}

/// Events with the signal with which signals.effect would be seen. Where the log tells the error of the difference of
/// retention, variances shrink as logs grow: events * (z * error / effect)^2, z = z_{1 - alpha / 2} + z_power. Else as
/// if responses were independent and half of them retained: z^2 (p q + rate / (1 - rate) p0 q0) / effect^2.
/// @source two-sample test of proportions with unequal sizes, Fleiss, Levin and Paik 2003
double events_needed(const Ratio& rate, const Interval& difference, double events, const SignalOptions& options) {
  const double z_alpha = normal_quantile(1 - options.alpha / 2), z = z_alpha + normal_quantile(options.power);
  const double error = (difference.high - difference.low) / 2 / z_alpha;
  if (error > 0) return std::ceil(events * std::pow(z * error / options.effect, 2));
  const double other = 0.5 + options.effect, odds = rate.value / (1 - rate.value);
  return std::ceil(z * z * (other * (1 - other) + odds / 4) / (options.effect * options.effect));
}

Availability availability_of(std::size_t s, const UserLog& log, const Tally& tally, const Tie& tie, std::int64_t capped,
                             const SignalOptions& options) {
  const double confidence = 1 - options.alpha;
  const CountMoments& moments = tally.rate(s);
  const Ratio rate = rate_of(moments, 0, 1);
  Availability available{.events = moments.sum(0), .responses = moments.sum(1), .capped = capped};
  for (const auto& [events, users] : tally.users_by_events(s)) {
    available.users += users;
    available.users_with += events > 0 ? users : 0;
  }
  available.rate = rate_interval(rate, 1, confidence);
  const auto users = static_cast<double>(available.users);
  const double share = static_cast<double>(available.users_with) / users;
  available.user_share = rate_interval({share, share * (1 - share) / users, available.users, users}, 1, confidence);
  available.design_effect = design_effect(rate);
  available.needed_events =
      events_needed(rate, tie.judged().difference, static_cast<double>(available.events), options);
  available.needed_responses = std::ceil(available.needed_events / rate.value);
  available.needed_users = std::ceil(available.needed_responses * users / rate.denominator);
  for (std::size_t c = 0; c < log.use_cases.size(); ++c)
    available.use_cases.push_back(part_rate(log.use_cases[c], tally.rate(s, c), available.design_effect, confidence));
  return available;
}

/// Rate in one half of the users / in the other, by the delta method of the logarithm.
Interval half_ratio(const CountMoments& one, const CountMoments& other, double confidence) {
  const Ratio a = rate_of(one, 0, 1), b = rate_of(other, 0, 1);
  if (!(a.value > 0 && b.value > 0)) return {kNaN, kNaN, kNaN};
  const Interval log = normal_interval(std::log(a.value / b.value),
                                       a.variance / (a.value * a.value) + b.variance / (b.value * b.value), confidence);
  return {a.value / b.value, std::exp(log.low), std::exp(log.high)};
}

Unambiguity unambiguity_of(std::size_t s, const UserLog& log, const Tally& tally, double effect,
                           const SignalOptions& options) {
  const double confidence = 1 - options.alpha;
  Unambiguity result;
  result.opposite = contrast_of(tally.with_outcome(s, kOpposite), confidence);
  result.next_negative = contrast_of(tally.with_outcome(s, kNextNegative), confidence);
  const Contrast& opposite = result.opposite;
  if (opposite.num_with + opposite.num_without == 0)
    result.missing = "the log holds no signal of the other kind (signals.negative)";
  else if (opposite.num_with == 0 || opposite.num_without == 0)
    result.missing = "every response is alike in the signal";
  else if (opposite.without.value == 0)
    result.missing = "signals of the other kind never occur without it";
  for (std::size_t other = 0; other < log.signals.size(); ++other)
    if (other != s)
      result.companions.push_back({log.signals[other], contrast_of(tally.with_signal(s, other), confidence)});
  const auto events = tally.slice_events(s), responses = tally.slice_responses(s);
  const double used_effect = effect > 0 ? effect : 1;
  result.drift = drift_of(events, responses, used_effect);
  for (std::size_t t = 0; t < events.size(); ++t) {
    const auto n = static_cast<double>(responses[t]);
    const double rate = static_cast<double>(events[t]) / n;
    result.slices.push_back(
        {std::to_string(t + 1), events[t], responses[t],
         rate_interval({rate, used_effect * rate * (1 - rate) / n, 0, n}, used_effect, confidence)});
  }
  result.half_ratio = half_ratio(tally.half(s, 0), tally.half(s, 1), confidence);
  result.gini = gini(tally.users_by_events(s));
  result.top_share = top_share(tally.users_by_events(s), kTopUsers);
  // Kish's effect with the mean number of responses that a response's user has.
  const CountMoments& moments = tally.rate(s);
  std::vector<double> of_responses{0, 1};
  const auto users = static_cast<double>(moments.num_users()), total = static_cast<double>(moments.sum(1));
  const double squares = moments.variance(of_responses) * (users - 1) / users;
  result.icc = (effect - 1) / (squares / total - 1);
  return result;
}

}  // namespace

std::vector<SignalEvidence> collect_evidence(const UserLog& log, const std::vector<std::int64_t>& capped,
                                             const SignalOptions& options, const Communicator& comm) {
  const std::uint64_t negative = negative_bits(log, options);
  const Tally tally(log, negative, options.time_slices, comm);
  std::vector<SignalEvidence> evidence;
  for (std::size_t s = 0; s < log.signals.size(); ++s) {
    SignalEvidence one{.name = log.signals[s],
                       .is_logged = s < log.num_logged,
                       .is_negative = (negative >> s & 1) != 0,
                       .is_everywhere = true};
    one.tie = measure_tie(log, s, tally, 1 - options.alpha, comm);
    one.available = availability_of(s, log, tally, one.tie, comm.all_reduce(capped.empty() ? 0 : capped[s]), options);
    one.is_everywhere = one.available.responses + one.available.capped == log.read - log.duplicates;
    one.unambiguous = unambiguity_of(s, log, tally, one.available.design_effect, options);
    one.unambiguous.reactors = find_reactors(log, s, tally, options, comm);
    for (const Reactor& reactor : one.unambiguous.reactors) one.unambiguous.reactor_events += reactor.events;
    evidence.push_back(std::move(one));
  }
  return evidence;
}

}  // namespace rluf
