#pragma once
/// Users who give a signal beyond what chance explains.
#include "rluf/pipeline/signals/evidence.hpp"
#include "tally.hpp"

namespace rluf {

/// A user's events against Binomial(responses, mean rate of the use cases of these responses), upper tail, at a false
/// discovery rate of signals.alpha over all users; by rising p. Users differ for good reasons too: they are worth a
/// look and can be capped, they are not proven to be adversaries. @collective
std::vector<Reactor> find_reactors(const UserLog& log, std::size_t signal, const Tally& tally,
                                   const SignalOptions& options, const Communicator& comm);

}  // namespace rluf
