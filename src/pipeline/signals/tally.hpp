#pragma once
/// Whole numbers counted in one pass over the users, for all signals.
#include <vector>

#include "rluf/pipeline/signals/evidence.hpp"

namespace rluf {

/// Outcomes that are no signals.
enum Outcome : std::size_t { kOpposite = 0, kNextNegative = 1, kRetained = 2, kNumOutcomes = 3 };

class Tally {
 public:
  /// Counts this rank's users and adds up all ranks'. `negative`: bits of the signals that say bad. @collective
  Tally(const UserLog& log, std::uint64_t negative, std::int64_t num_slices, const Communicator& comm);

  std::size_t num_signals() const { return num_signals_; }
  /// {events, responses} by user.
  const CountMoments& rate(std::size_t signal) const { return rates_[signal]; }
  const CountMoments& rate(std::size_t signal, std::size_t use_case) const;
  /// In one half of the users (0, 1), chosen by a bit of their hash.
  const CountMoments& half(std::size_t signal, std::size_t which) const { return halves_[2 * signal + which]; }
  /// For contrast_of.
  const CountMoments& with_signal(std::size_t signal, std::size_t other) const;
  const CountMoments& with_outcome(std::size_t signal, Outcome outcome) const;
  /// {retained, known} by user.
  const CountMoments& retention() const { return retention_; }
  std::vector<std::int64_t> slice_events(std::size_t signal) const { return slice(signal, 0); }
  std::vector<std::int64_t> slice_responses(std::size_t signal) const { return slice(signal, 1); }
  const CountHistogram& users_by_events(std::size_t signal) const { return histograms_[signal]; }

 private:
  void count(std::span<const Interaction> user, const UserLog& log, std::uint64_t negative);
  void add_up(const Communicator& comm);
  std::vector<std::int64_t> slice(std::size_t signal, std::size_t which) const;
  std::size_t num_signals_, num_use_cases_, num_slices_;
  std::vector<CountMoments> rates_, use_case_rates_, halves_, pairs_;
  CountMoments retention_;
  std::vector<std::int64_t> slices_;  ///< {events, responses} of [signal][slice]
  std::vector<CountHistogram> histograms_;
};

}  // namespace rluf
