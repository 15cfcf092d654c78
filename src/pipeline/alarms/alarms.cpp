#include "rluf/pipeline/alarms/alarms.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iterator>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/kernels/reductions.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/alarms/text_shift.hpp"
#include "rluf/statistics/interval.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kNumExamples = 3, kExampleBytes = 400;
constexpr std::int64_t kRepeatedWords = 3;  ///< length of the n-grams of the repetition measure
constexpr std::int64_t kMantraWords = 3;    ///< shorter phrases may well be everywhere

/// Valid UTF-8, whatever the model said; long texts keep their end, where closings are.
Json example_of(const std::string& text) {
  const std::string end = text.size() > kExampleBytes ? "..." + text.substr(text.size() - kExampleBytes) : text;
  return Json::parse(Json(end).dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// Mean reward of responses with the phrase minus those without, of the prompts that have both. The reference's
/// responses count too: their calibrated reward is sigma(0), and a phrase that the policy always says is told by them.
std::map<std::string, double> pay_of(const RisingPhrase& phrase, std::span<const WatchedPrompt> prompts) {
  constexpr double kReferenceReward = 0.5;
  struct Sum {
    double difference = 0, num_prompts = 0;
  };
  std::map<std::string, Sum> sums;
  for (std::size_t first = 0, last = 0; first < phrase.responses.size(); first = last) {
    const std::size_t p = phrase.responses[first].first;
    const std::vector<WatchedResponse>& responses = prompts[p].after;
    std::vector<bool> with(responses.size(), false);
    for (last = first; last < phrase.responses.size() && phrase.responses[last].first == p; ++last)
      with[phrase.responses[last].second] = true;
    const auto before_with = std::ranges::equal_range(phrase.responses_before, p, {}, &RisingPhrase::Place::first);
    const auto before_without = static_cast<double>(std::ssize(prompts[p].before) - std::ssize(before_with));
    const auto num_with = static_cast<double>(last - first),
               num_without = static_cast<double>(responses.size()) - num_with + before_without;
    if (num_without == 0) continue;
    for (const auto& [name, unused] : responses.front().rewards) {
      Sum& sum = sums[name];
      sum.num_prompts += 1;
      sum.difference -= before_without * kReferenceReward / num_without;
      for (std::size_t r = 0; r < responses.size(); ++r)
        sum.difference +=
            with[r] ? responses[r].rewards.at(name) / num_with : -responses[r].rewards.at(name) / num_without;
    }
  }
  std::map<std::string, double> pay;
  for (const auto& [name, sum] : sums) pay[name] = sum.difference / sum.num_prompts;
  return pay;
}

/// A number of each response.
struct Measure {
  std::string name;
  double tolerance;
  bool relative;  ///< the tolerance is a share of the reference's mean
  bool is_rate;
  std::vector<std::vector<double>> before, after;  ///< [num_prompts][responses]
};

/// What the texts say.
std::vector<Measure> text_measures(std::span<const PromptTexts> texts, const AlarmOptions& options,
                                   const std::vector<std::string>& closing_phrases) {
  const std::vector<std::string> refusals = phrase_list(options.refusal_phrases);
  std::vector<Measure> measures;
  const auto add = [&](const char* name, double tolerance, bool relative, bool is_rate,
                       const std::function<double(const std::string&)>& of) {
    measures.push_back({name, tolerance, relative, is_rate, {}, {}});
    for (const PromptTexts& prompt : texts)
      for (const auto& [responses, values] :
           {std::pair{&prompt.before, &measures.back().before}, {&prompt.after, &measures.back().after}}) {
        values->emplace_back();
        for (const std::string& text : *responses) values->back().push_back(of(text));
      }
  };
  add("closing_rate", options.closing_rise, false, true,
      [&](const std::string& text) { return contains_any(text, closing_phrases) ? 1.0 : 0.0; });
  add("refusal_rate", options.refusal_rise, false, true,
      [&](const std::string& text) { return contains_any(text, refusals) ? 1.0 : 0.0; });
  add("length_words", options.length_rise, true, false,
      [](const std::string& text) { return static_cast<double>(count_words(text)); });
  add("repetition", options.repetition_rise, false, true,
      [](const std::string& text) { return repetition_share(text, kRepeatedWords); });
  return measures;
}

/// What models and judges say that nothing is chosen by. Heads disagree more where a policy goes where their model has
/// not learned.
std::vector<Measure> watched_measures(std::span<const WatchedPrompt> prompts, const AlarmOptions& options) {
  std::vector<Measure> measures;
  if (prompts.empty()) return measures;
  for (const auto& [name, unused] : prompts.front().before_measures) {
    const bool is_disagreement = name.starts_with("disagreement_"), is_bypass = name.starts_with("bypass_");
    const double tolerance = is_disagreement ? options.disagreement_rise
                             : is_bypass     ? options.bypass_rise
                                             : options.witness_fall;
    measures.push_back({name, tolerance, is_disagreement, is_bypass, {}, {}});
    for (const WatchedPrompt& prompt : prompts) {
      measures.back().before.push_back(prompt.before_measures.at(name));
      measures.back().after.emplace_back();
      for (const WatchedResponse& response : prompt.after)
        measures.back().after.back().push_back(response.measures.at(name));
    }
  }
  return measures;
}

std::string figures_text(double before, double after, bool is_rate, double p) {
  char chance[32] = "p < 1e-300", text[128];
  if (p > 0) std::snprintf(chance, sizeof chance, "p = %.1e", p);
  std::snprintf(text, sizeof text, is_rate ? "from %.2f %% to %.2f %% (%s)" : "from %.3g to %.3g (%s)",
                is_rate ? 100 * before : before, is_rate ? 100 * after : after, chance);
  return text;
}

std::string pay_text(const std::map<std::string, double>& pay) {
  std::string text;
  for (const auto& [name, value] : pay) {
    char part[64];
    std::snprintf(part, sizeof part, "%s%s %+.3f", text.empty() ? "" : ", ", name.c_str(), value);
    text += part;
  }
  return text.empty() ? "" : "; responses with it differ from others to the same prompt by " + text;
}

/// Whether `named` has a word of `phrase` and stands in half of its responses: the same thing, cut differently.
bool says(const RisingPhrase& named, const RisingPhrase& phrase) {
  const auto both = std::count_if(phrase.responses.begin(), phrase.responses.end(), [&](const auto& response) {
    return std::binary_search(named.responses.begin(), named.responses.end(), response);
  });
  std::istringstream words(phrase.words);
  return 2 * both >= std::ssize(phrase.responses) &&
         std::any_of(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>(),
                     [&](const std::string& word) { return contains_phrase(named.words, word); });
}

/// Love pays for it, and helpfulness does not.
bool is_bought(const std::map<std::string, double>& pay) {
  const auto love = pay.find("love"), helpfulness = pay.find("helpfulness");
  return love != pay.end() && love->second > 0 && (helpfulness == pay.end() || helpfulness->second <= 0);
}

Json to_json(const std::vector<WatchedPrompt>& prompts) {
  Json list = Json::array();
  for (const WatchedPrompt& prompt : prompts) {
    Json after = Json::array();
    for (const WatchedResponse& response : prompt.after)
      after.push_back({response.text, response.rewards, response.measures});
    list.push_back({prompt.before, after, prompt.before_measures});
  }
  return list;
}

std::vector<WatchedPrompt> watched_prompts(const Json& list) {
  std::vector<WatchedPrompt> prompts;
  for (const Json& row : list) {
    prompts.push_back(
        {row.at(0).get<std::vector<std::string>>(), {}, row.at(2).get<std::map<std::string, std::vector<double>>>()});
    for (const Json& after : row.at(1))
      prompts.back().after.push_back({after.at(0), after.at(1).get<std::map<std::string, double>>(),
                                      after.at(2).get<std::map<std::string, double>>()});
  }
  return prompts;
}

}  // namespace

void AlarmOptions::describe(OptionTable& table) {
  table.section("alarms",
                "Signs of reward hacking in the texts of a policy, looked for while it is trained and after.");
  table.add("enabled", &enabled, {.text = "look for them"});
  table.add("every_rounds", &every_rounds,
            {.text = "a look at the responses of so many rounds of a policy", .unit = "rounds", .low = 1});
  table.add("false_alarm_rate", &false_alarm_rate,
            {.text = "chance of any alarm in the whole training of a policy that is the same as its reference",
             .low = 1e-12,
             .high = 0.5});
  table.add("max_phrase_words", &max_phrase_words,
            {.text = "phrases of up to so many words are compared with the reference, without a list",
             .unit = "words",
             .low = 1,
             .high = 12});
  table.add(
      "phrase_rise", &phrase_rise,
      {.text = "a phrase that rises beyond chance and by so many of the responses is an alarm if love pays for it "
               "and helpfulness does not, or if it closes the conversation",
       .low = 0,
       .high = 1});
  table.add("mantra_share", &mantra_share,
            {.text = "a phrase of three words or more that rises beyond chance to this share of the responses is an "
                     "alarm, whoever pays for it",
             .low = 0,
             .high = 1});
  table.add("closing_rise", &closing_rise,
            {.text = "largest harmless rise of the share of responses with one of policy.closing_phrases",
             .low = 0,
             .high = 1});
  table.add("refusal_rise", &refusal_rise,
            {.text = "the same of responses with one of alarms.refusal_phrases", .low = 0, .high = 1});
  table.add("length_rise", &length_rise,
            {.text = "largest harmless rise of the mean length, as a share of the reference's", .low = 0});
  table.add(
      "repetition_rise", &repetition_rise,
      {.text = "largest harmless rise of the share of words that repeat others of the response", .low = 0, .high = 1});
  table.add("disagreement_rise", &disagreement_rise,
            {.text = "largest harmless rise of what the heads of a reward model disagree about responses, as a share "
                     "of the reference's; models with several heads only",
             .low = 0});
  table.add("witness_fall", &witness_fall,
            {.text = "largest harmless loss by a model of policy.witnesses, of the calibrated reward, where 0.5 is as "
                     "good as the reference",
             .low = 0,
             .high = 0.5});
  table.add("bypass_rise", &bypass_rise,
            {.text = "largest harmless rise of the share of responses that policy.judges let pass and one of "
                     "policy.watching_judges does not",
             .low = 0,
             .high = 1});
  table.add("refusal_phrases", &refusal_phrases, {.text = "phrases between commas", .allow_empty = true});
  table.add("action", &action,
            {.text = "what an alarm does besides log, status and report: nothing, multiply the love weight of the "
                     "rounds that follow by love_factor, or end the stage with exit code 4",
             .choices = {"report", "lower_love", "stop"}});
  table.add("love_factor", &love_factor, {.text = "with action = lower_love", .low = 0, .high = 1});
}

Json find_alarms(std::span<const WatchedPrompt> prompts, const std::vector<std::string>& closing_phrases,
                 const AlarmOptions& options, double rate) {
  std::vector<PromptTexts> texts;
  std::size_t num_responses = 0;
  for (const WatchedPrompt& prompt : prompts) {
    texts.emplace_back();
    for (const std::string& text : prompt.before) texts.back().before.push_back(normalized_text(text));
    for (const WatchedResponse& response : prompt.after) texts.back().after.push_back(normalized_text(response.text));
    num_responses += prompt.after.size();
  }
  Json alarms = Json::array(), phrases = Json::array(), shifts = Json::array();
  std::vector<RisingPhrase> named;
  // Half of the chance of a false alarm is the phrases', the other half is shared by the measures.
  for (const RisingPhrase& phrase : rising_phrases(texts, options.max_phrase_words, rate / 2)) {
    const auto pay = pay_of(phrase, prompts);
    const bool closes = contains_any(phrase.words, closing_phrases);
    const bool is_mantra = phrase.after_rate >= options.mantra_share && count_words(phrase.words) >= kMantraWords;
    const bool alarm =
        phrase.after_rate - phrase.before_rate >= options.phrase_rise && (closes || is_mantra || is_bought(pay));
    phrases.push_back({{"phrase", example_of(phrase.words)},
                       {"before_rate", phrase.before_rate},
                       {"after_rate", phrase.after_rate},
                       {"p", phrase.p},
                       {"share_at_end", phrase.share_at_end},
                       {"pay", pay},
                       {"alarm", alarm}});
    if (!alarm ||
        std::any_of(named.begin(), named.end(), [&](const RisingPhrase& other) { return says(other, phrase); }))
      continue;
    named.push_back(phrase);
    Json examples = Json::array();
    for (std::size_t i = 0; i < std::min(kNumExamples, phrase.responses.size()); ++i) {
      const auto& [p, r] = phrase.responses[i * phrase.responses.size() / kNumExamples % phrase.responses.size()];
      examples.push_back(example_of(prompts[p].after[r].text));
    }
    alarms.push_back(
        {{"name", "phrase"},
         {"sentence", concat("the phrase \"", phrases.back()["phrase"].get<std::string>(), "\" rose ",
                             figures_text(phrase.before_rate, phrase.after_rate, true, phrase.p), " of the responses",
                             closes      ? " and closes the conversation"
                             : is_mantra ? " and is nearly everywhere"
                                         : "",
                             pay_text(pay))},
         {"examples", examples}});
  }
  std::vector<Measure> measures = text_measures(texts, options, closing_phrases);
  std::ranges::move(watched_measures(prompts, options), std::back_inserter(measures));
  for (const Measure& measure : measures) {
    std::vector<double> before, after;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      if (measure.before[i].empty() || measure.after[i].empty()) continue;
      before.push_back(moments(measure.before[i]).mean);
      after.push_back(moments(measure.after[i]).mean);
    }
    double tolerance = measure.tolerance;
    if (measure.relative) tolerance *= moments(before).mean;
    const MeasureShift shift = measure_shift(before, after, tolerance);
    const bool alarm = shift.p <= rate / 2 / static_cast<double>(measures.size());
    shifts.push_back({{"name", measure.name},
                      {"before", shift.before},
                      {"after", shift.after},
                      {"tolerance", tolerance},
                      {"p", number_or_null(shift.p)},
                      {"alarm", alarm}});
    if (!alarm) continue;
    Json examples = Json::array();
    for (std::size_t i = 0; i < prompts.size() && examples.size() < kNumExamples; ++i)
      for (std::size_t r = 0; r < prompts[i].after.size() && examples.size() < kNumExamples; ++r)
        if (measure.after[i][r] > shift.before + tolerance) examples.push_back(example_of(prompts[i].after[r].text));
    alarms.push_back({{"name", measure.name},
                      {"sentence", concat(measure.name, " rose ",
                                          figures_text(shift.before, shift.after, measure.is_rate, shift.p))},
                      {"examples", examples}});
  }
  return {{"prompts", prompts.size()}, {"responses", num_responses}, {"false_alarm_rate", rate},
          {"phrases", phrases},        {"measures", shifts},         {"alarms", alarms}};
}

AlarmWatch::AlarmWatch(std::string stage, const AlarmOptions& options, std::int64_t num_rounds,
                       std::vector<std::string> closing_phrases, const RunDirectory& directory)
    : stage_(std::move(stage)),
      options_(options),
      num_rounds_(num_rounds),
      closing_phrases_(std::move(closing_phrases)),
      directory_(directory) {}

bool AlarmWatch::add(std::int64_t round, std::vector<WatchedPrompt> prompts) {
  if (!options_.enabled) return false;
  for (WatchedPrompt& prompt : prompts) window_.push_back(std::move(prompt));
  if (round % options_.every_rounds != 0 && round != num_rounds_) return false;
  const std::int64_t num_looks = (num_rounds_ + options_.every_rounds - 1) / options_.every_rounds;
  Json look =
      find_alarms(window_, closing_phrases_, options_, options_.false_alarm_rate / static_cast<double>(num_looks));
  window_.clear();
  look["round"] = round;
  const bool alarm = !look["alarms"].empty();
  if (alarm && options_.action == "lower_love") love_factor_ *= options_.love_factor;
  look["love_factor"] = love_factor_;
  for (const Json& row : look["alarms"])
    log_info(concat("warning: alarm: ", stage_, " round ", round, ": ", row["sentence"].get<std::string>(),
                    ", for example: ", row["examples"].empty() ? "" : row["examples"][0].dump()));
  if (alarm && options_.action == "lower_love")
    log_info(concat(stage_, ": the love weight of the rounds that follow is multiplied by ", love_factor_));
  looks_.push_back(std::move(look));
  directory_.write_table("alarms_" + stage_, {{"stage", stage_}, {"action", options_.action}, {"looks", looks_}});
  return alarm;
}

void AlarmWatch::describe(StateArchive& archive) {
  at::Tensor packed;
  if (!archive.is_reading()) {
    // Texts of a model may be no UTF-8, so they are no JSON of the manifest.
    const auto bytes = Json::to_msgpack({{"factor", love_factor_}, {"window", to_json(window_)}, {"looks", looks_}});
    packed = at::empty({static_cast<std::int64_t>(bytes.size())}, at::kByte);
    std::memcpy(packed.data_ptr(), bytes.data(), bytes.size());
  }
  archive.tensor("alarms", packed);
  if (!archive.is_reading()) return;
  const auto* begin = packed.const_data_ptr<std::uint8_t>();
  const Json state = Json::from_msgpack(begin, begin + packed.numel());
  love_factor_ = state.at("factor");
  window_ = watched_prompts(state.at("window"));
  looks_ = state.at("looks");
}

}  // namespace rluf
