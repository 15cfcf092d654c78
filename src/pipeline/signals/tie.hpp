#pragma once
/// How a signal hangs together with long-term satisfaction.
#include "rluf/pipeline/signals/evidence.hpp"
#include "tally.hpp"

namespace rluf {

/// Retention of users who ever gave the signal against those who never did: logistic regression of each user's share of
/// retained responses, adjusted for log(responses), since who is more active has more chances to give it, and for the
/// user's mix of use cases. The same after single responses. And the same users after the signal and after others.
/// @source a share as outcome: Papke and Wooldridge, "Econometric methods for fractional response variables", 1996
/// @collective
Tie measure_tie(const UserLog& log, std::size_t signal, const Tally& tally, double confidence,
                const Communicator& comm);

}  // namespace rluf
