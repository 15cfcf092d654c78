#pragma once
/// Signs that a policy has learned to please its judges instead of its users, as in "Bye! Sending Love!" (RLUF,
/// arXiv 2505.14946, section 5).
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/io/checkpoint.hpp"
#include "rluf/io/run_directory.hpp"

namespace rluf {

struct AlarmOptions {
  bool enabled = true;
  std::int64_t every_rounds = 10, max_phrase_words = 5;
  double false_alarm_rate = 0.01;  ///< of a whole policy
  double phrase_rise = 0.02, mantra_share = 0.5, closing_rise = 0.01, refusal_rise = 0.02, length_rise = 0.5,
         repetition_rise = 0.05, disagreement_rise = 0.25, witness_fall = 0.02, bypass_rise = 0.05;
  std::string refusal_phrases =
      "i can't, i can not, i cannot, i won't, i'm unable, i am unable, i'm not able, i am not able, i'm sorry but";
  std::string action = "report";  ///< or lower_love, stop
  double love_factor = 0.5;
  void describe(OptionTable& table);
};

/// A response of the policy with its calibrated rewards, by objective, and what else was measured of it, which should
/// not rise: disagreement_OBJECTIVE of the heads of a reward model; witness_OBJECTIVE, how far the reward of a model
/// that nothing is chosen by lies below the reference's (sigma(0) - sigma(r(a) - r(a_bar))); bypass_JUDGE, 1 if the
/// judges that choose let pass what a watching one does not.
struct WatchedResponse {
  std::string text;
  std::map<std::string, double> rewards;
  std::map<std::string, double> measures = {};
};
struct WatchedPrompt {
  std::vector<std::string> before;  ///< the reference's responses
  std::vector<WatchedResponse> after;
  std::map<std::string, std::vector<double>> before_measures = {};  ///< [before.size()]
};

/// {"prompts", "responses", "phrases": [...], "measures": [...], "alarms": [{"name", "sentence", "examples"}]} of one
/// look. A rising phrase is an alarm if it rises by phrase_rise and love pays for it while helpfulness does not, if it
/// holds a closing phrase, or if it has become a mantra; other risen phrases are listed. A measure (closings, refusals,
/// length, repetition, and those of WatchedResponse) is an alarm if its change is above its tolerance beyond chance.
/// `rate`: P(any alarm while policy and reference are the same). Pure function.
nlohmann::json find_alarms(std::span<const WatchedPrompt> prompts, const std::vector<std::string>& closing_phrases,
                           const AlarmOptions& options, double rate);

/// Watches one policy while it is trained: a look every few rounds, at the responses since the last one.
class AlarmWatch {
 public:
  AlarmWatch(std::string stage, const AlarmOptions& options, std::int64_t num_rounds,
             std::vector<std::string> closing_phrases, const RunDirectory& directory);
  /// After round `round`, counted from 1. Logs alarms and writes tables/alarms_STAGE.json at a look; `prompts` are the
  /// same on all ranks, but only rank 0 may fail to write.
  /// @return whether there is an alarm
  bool add(std::int64_t round, std::vector<WatchedPrompt> prompts);
  /// What the love weight is to be multiplied by, after the alarms so far.
  double love_factor() const { return love_factor_; }
  void describe(StateArchive& archive);

 private:
  std::string stage_;
  AlarmOptions options_;
  std::int64_t num_rounds_;
  std::vector<std::string> closing_phrases_;
  const RunDirectory& directory_;
  double love_factor_ = 1;
  std::vector<WatchedPrompt> window_;  ///< since the last look
  nlohmann::json looks_ = nlohmann::json::array();
};

}  // namespace rluf
