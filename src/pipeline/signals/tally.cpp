#include "tally.hpp"

#include <algorithm>
#include <array>

namespace rluf {
namespace {

constexpr std::size_t kEvent = 0, kResponse = 1;

void add_if_any(CountMoments& moments, std::span<const std::int64_t> counts) {
  if (std::any_of(counts.begin(), counts.end(), [](std::int64_t count) { return count != 0; })) moments.add(counts);
}

/// 0 or 1; -1: not known.
int outcome_of(std::span<const Interaction> user, std::size_t i, std::size_t outcome, std::uint64_t opposite,
               std::uint64_t negative) {
  switch (outcome) {
    case kOpposite:
      return (user[i].known & opposite) == 0 ? -1 : (user[i].values & opposite) != 0;
    case kNextNegative:
      return i + 1 == user.size() || (user[i + 1].known & negative) == 0 ? -1 : (user[i + 1].values & negative) != 0;
    default:
      return user[i].retained;
  }
}

}  // namespace

Tally::Tally(const UserLog& log, std::uint64_t negative, std::int64_t num_slices, const Communicator& comm)
    : num_signals_(log.signals.size()),
      num_use_cases_(log.use_cases.size()),
      num_slices_(static_cast<std::size_t>(num_slices)),
      rates_(num_signals_, CountMoments(2)),
      use_case_rates_(num_signals_ * num_use_cases_, CountMoments(2)),
      halves_(2 * num_signals_, CountMoments(2)),
      pairs_(num_signals_ * (num_signals_ + kNumOutcomes), CountMoments(4)),
      retention_(2),
      slices_(2 * num_signals_ * num_slices_, 0),
      histograms_(num_signals_) {
  for_each_user(std::span<const Interaction>(log.rows),
                [&](std::span<const Interaction> user) { count(user, log, negative); });
  add_up(comm);
}

void Tally::count(std::span<const Interaction> user, const UserLog& log, std::uint64_t negative) {
  std::array<std::int64_t, 2> retained{};
  for (const Interaction& row : user) {
    retained[kEvent] += row.retained == 1;
    retained[kResponse] += row.retained >= 0;
  }
  add_if_any(retention_, retained);
  const std::int64_t span = log.last_time - log.first_time + 1;
  for (std::size_t s = 0; s < num_signals_; ++s) {
    std::array<std::int64_t, 2> all{};
    std::vector<std::int64_t> of_case(2 * num_use_cases_, 0);
    for (const Interaction& row : user) {
      if (!row.knows(s)) continue;
      all[kEvent] += row.has(s);
      ++all[kResponse];
      const auto slice =
          static_cast<std::size_t>((row.timestamp - log.first_time) * static_cast<std::int64_t>(num_slices_) / span);
      slices_[2 * (s * num_slices_ + slice) + kEvent] += row.has(s);
      ++slices_[2 * (s * num_slices_ + slice) + kResponse];
      if (row.use_case < 0) continue;
      of_case[2 * static_cast<std::size_t>(row.use_case) + kEvent] += row.has(s);
      ++of_case[2 * static_cast<std::size_t>(row.use_case) + kResponse];
    }
    if (all[kResponse] == 0) continue;
    rates_[s].add(all);
    halves_[2 * s + (user[0].user & 1)].add(all);
    ++histograms_[s][all[kEvent]];
    for (std::size_t c = 0; c < num_use_cases_; ++c)
      add_if_any(use_case_rates_[s * num_use_cases_ + c], std::span(of_case).subspan(2 * c, 2));

    // Praise is contradicted by what says bad, and the other way round.
    const bool is_negative = (negative >> s & 1) != 0;
    const std::uint64_t opposite = is_negative ? ~negative : negative;
    for (std::size_t o = 0; o < num_signals_ + kNumOutcomes; ++o) {
      std::array<std::int64_t, 4> counts{};
      for (std::size_t i = 0; i < user.size(); ++i) {
        if (!user[i].knows(s)) continue;
        const int outcome = o >= num_signals_  ? outcome_of(user, i, o - num_signals_, opposite, negative)
                            : user[i].knows(o) ? user[i].has(o)
                                               : -1;
        if (outcome >= 0)
          ++counts[user[i].has(s) ? 1 - static_cast<std::size_t>(outcome) : 3 - static_cast<std::size_t>(outcome)];
      }
      add_if_any(pairs_[s * (num_signals_ + kNumOutcomes) + o], counts);
    }
  }
}

void Tally::add_up(const Communicator& comm) {
  std::vector<CountMoments*> all{&retention_};
  for (auto* list : {&rates_, &use_case_rates_, &halves_, &pairs_})
    for (CountMoments& moments : *list) all.push_back(&moments);
  std::vector<std::int64_t> numbers = slices_;
  for (CountMoments* moments : all) numbers.insert(numbers.end(), moments->values().begin(), moments->values().end());
  comm.all_reduce(numbers);
  auto from = numbers.begin();
  const auto take = [&](std::vector<std::int64_t>& to) {
    std::copy_n(from, to.size(), to.begin());
    from += std::ssize(to);
  };
  take(slices_);
  for (CountMoments* moments : all) take(moments->values());
  for (CountHistogram& histogram : histograms_) {
    std::vector<std::int64_t> mine;
    for (const auto& [events, users] : histogram) mine.insert(mine.end(), {events, users});
    histogram.clear();
    const std::vector<std::int64_t> gathered = comm.all_gather(mine);
    for (std::size_t i = 0; i < gathered.size(); i += 2) histogram[gathered[i]] += gathered[i + 1];
  }
}

const CountMoments& Tally::rate(std::size_t signal, std::size_t use_case) const {
  return use_case_rates_[signal * num_use_cases_ + use_case];
}
const CountMoments& Tally::with_signal(std::size_t signal, std::size_t other) const {
  return pairs_[signal * (num_signals_ + kNumOutcomes) + other];
}
const CountMoments& Tally::with_outcome(std::size_t signal, Outcome outcome) const {
  return with_signal(signal, num_signals_ + outcome);
}

std::vector<std::int64_t> Tally::slice(std::size_t signal, std::size_t which) const {
  std::vector<std::int64_t> counts;
  for (std::size_t t = 0; t < num_slices_; ++t) counts.push_back(slices_[2 * (signal * num_slices_ + t) + which]);
  return counts;
}

}  // namespace rluf
