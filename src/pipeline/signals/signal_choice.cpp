#include "rluf/pipeline/signals/signal_choice.hpp"

#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/pipeline/signals/interaction.hpp"

namespace rluf {

std::string signal_choice_path(const RunDirectory& directory) { return directory.data("signals.json"); }

void write_signal_choice(const std::string& path, const SignalChoice& choice) {
  Json reactors = Json::object();
  for (const auto& [signal, users] : choice.reactors) {
    reactors[signal] = Json::object();
    for (const auto& [user, last_kept] : users) reactors[signal][user_text(user)] = {last_kept.first, last_kept.second};
  }
  write_json(path, {{"recommended", choice.recommended}, {"reason", choice.reason}, {"reactors", reactors}});
}

bool leaves_out(const ReactorLimits& limits, const std::string& mode, std::uint64_t user, std::int64_t timestamp,
                std::int64_t line) {
  const auto found = limits.find(user);
  if (found == limits.end() || mode == "keep") return false;
  return mode == "drop" || std::pair(timestamp, line) > found->second;
}

SignalChoice read_signal_choice(const std::string& path) {
  if (!std::filesystem::exists(path))
    fail_input(concat(path, " is missing"), "the stage signals writes it",
               "run rluf signals first, or name a field of signals{} by data.signal and leave data.reactors at keep");
  const Json file = read_json(path);
  SignalChoice choice;
  try {
    choice.recommended = file.at("recommended").get<std::string>();
    choice.reason = file.at("reason").get<std::string>();
    for (const auto& [signal, users] : file.at("reactors").items()) {
      auto& list = choice.reactors[signal];
      for (const auto& [user, last_kept] : users.items())
        list[std::stoull(user, nullptr, 16)] = {last_kept.at(0).get<std::int64_t>(),
                                                last_kept.at(1).get<std::int64_t>()};
    }
  } catch (const std::exception& error) {
    fail_data(concat(path, " is no comparison of signals (", error.what(), ")"), "it cannot be used",
              "run rluf signals again");
  }
  return choice;
}

Json choice_identity(const std::string& path, const std::string& signal, const std::string& reactors) {
  Json identity = Json::object();
  if ((signal != "auto" && reactors == "keep") || !std::filesystem::exists(path)) return identity;
  const SignalChoice choice = read_signal_choice(path);
  const std::string label = signal == "auto" ? choice.recommended : signal;
  if (signal == "auto") identity["recommended signal"] = label;
  if (reactors != "keep") {
    std::string text;
    if (const auto found = choice.reactors.find(label); found != choice.reactors.end())
      for (const auto& [user, last_kept] : found->second)
        text += concat(user, ":", last_kept.first, ":", last_kept.second, ",");
    identity["listed reactors"] = siphash({7, 0}, text);
  }
  return identity;
}

}  // namespace rluf
