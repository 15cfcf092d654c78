#pragma once
/// data/signals.json: what the dataset stage takes from the comparison of the signals.
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "rluf/io/run_directory.hpp"

namespace rluf {

/// Users (keyed hashes) who give a signal beyond chance, and the (timestamp, line) of the last positive that each keeps
/// under data.reactors = cap.
using ReactorLimits = std::map<std::uint64_t, std::pair<std::int64_t, std::int64_t>>;

struct SignalChoice {
  std::string recommended, reason;                ///< recommended is empty where no signal passed
  std::map<std::string, ReactorLimits> reactors;  ///< by signal
};

/// Whether data.reactors = `mode` (keep, cap, drop) leaves out a positive of this user.
bool leaves_out(const ReactorLimits& limits, const std::string& mode, std::uint64_t user, std::int64_t timestamp,
                std::int64_t line);

std::string signal_choice_path(const RunDirectory& directory);
/// Atomic. Not collective. @throws Error(kBadInput) if it cannot be written
void write_signal_choice(const std::string& path, const SignalChoice& choice);
/// @throws Error(kBadInput) if the file is missing, Error(kBadData) if it is something else
SignalChoice read_signal_choice(const std::string& path);

/// What later stages depend on, for their identity: the recommendation where data.signal is auto, a hash of the listed
/// users where data.reactors is not keep. Empty where nothing is taken from the file or it is not there.
nlohmann::json choice_identity(const std::string& path, const std::string& signal, const std::string& reactors);

}  // namespace rluf
