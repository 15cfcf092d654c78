#include "reactors.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <tuple>

#include "rluf/statistics/distributions.hpp"

namespace rluf {
namespace {

/// Reactors of all ranks. @collective
std::vector<Reactor> gathered(const std::vector<Reactor>& mine, const Communicator& comm) {
  std::vector<std::int64_t> whole;
  std::vector<double> real;
  for (const Reactor& reactor : mine) {
    whole.insert(whole.end(), {std::bit_cast<std::int64_t>(reactor.user), reactor.responses, reactor.events});
    real.insert(real.end(), {reactor.expected, reactor.p});
  }
  whole = comm.all_gather(whole);
  real = comm.all_gather(real);
  std::vector<Reactor> all;
  for (std::size_t i = 0; 3 * i < whole.size(); ++i)
    all.push_back({.user = std::bit_cast<std::uint64_t>(whole[3 * i]),
                   .responses = whole[3 * i + 1],
                   .events = whole[3 * i + 2],
                   .keeps = 0,
                   .expected = real[2 * i],
                   .p = real[2 * i + 1]});
  return all;
}

/// Finds where the last event stands that each reactor keeps, on the rank of its user. @collective
void find_last_kept(const UserLog& log, std::size_t signal, std::vector<Reactor>& reactors, const Communicator& comm) {
  std::map<std::uint64_t, std::size_t> numbers;
  for (std::size_t i = 0; i < reactors.size(); ++i) numbers[reactors[i].user] = i;
  std::vector<std::int64_t> places(2 * reactors.size(), std::numeric_limits<std::int64_t>::min());
  for_each_user(std::span<const Interaction>(log.rows), [&](std::span<const Interaction> user) {
    const auto found = numbers.find(user[0].user);
    if (found == numbers.end()) return;
    std::int64_t left = reactors[found->second].keeps;
    for (const Interaction& row : user) {
      if (!row.has(signal) || left-- <= 0) continue;
      places[2 * found->second] = row.timestamp;
      places[2 * found->second + 1] = row.line;
    }
  });
  comm.all_reduce(places, Reduce::kMax);
  for (std::size_t i = 0; i < reactors.size(); ++i) {
    reactors[i].last_kept_time = places[2 * i];
    reactors[i].last_kept_line = places[2 * i + 1];
  }
}

}  // namespace

std::vector<Reactor> find_reactors(const UserLog& log, std::size_t signal, const Tally& tally,
                                   const SignalOptions& options, const Communicator& comm) {
  const double whole_rate = rate_of(tally.rate(signal), 0, 1).value;
  std::vector<double> rates;  // by use case
  for (std::size_t c = 0; c < log.use_cases.size(); ++c) {
    const Ratio rate = rate_of(tally.rate(signal, c), 0, 1);
    rates.push_back(rate.denominator > 0 ? rate.value : whole_rate);
  }
  std::vector<Reactor> mine;
  std::int64_t num_users = 0;
  for_each_user(std::span<const Interaction>(log.rows), [&](std::span<const Interaction> user) {
    Reactor reactor{.user = user[0].user};
    for (const Interaction& row : user) {
      if (!row.knows(signal)) continue;
      ++reactor.responses;
      reactor.events += row.has(signal);
      reactor.expected += row.use_case < 0 ? whole_rate : rates[static_cast<std::size_t>(row.use_case)];
    }
    if (reactor.responses == 0) return;
    ++num_users;
    if (static_cast<double>(reactor.events) <= reactor.expected) return;  // p is above any alpha that is allowed
    const double mean = std::min(1.0, reactor.expected / static_cast<double>(reactor.responses));
    reactor.p = binomial_tail(reactor.events, reactor.responses, mean);
    if (reactor.p <= options.alpha) mine.push_back(reactor);
  });
  num_users = comm.all_reduce(num_users);
  std::vector<Reactor> all = gathered(mine, comm);
  std::sort(all.begin(), all.end(),
            [](const Reactor& a, const Reactor& b) { return std::tie(a.p, a.user) < std::tie(b.p, b.user); });
  std::vector<double> ascending;
  for (const Reactor& reactor : all) ascending.push_back(reactor.p);
  all.resize(static_cast<std::size_t>(benjamini_hochberg(ascending, num_users, options.alpha)));
  for (Reactor& reactor : all) {
    const double mean = std::min(1.0, reactor.expected / static_cast<double>(reactor.responses));
    reactor.keeps = options.user_cap > 0
                        ? options.user_cap
                        : std::max<std::int64_t>(1, binomial_limit(reactor.responses, mean, options.alpha));
  }
  find_last_kept(log, signal, all, comm);
  return all;
}

}  // namespace rluf
