#include "rluf/pipeline/policy/task_settings.hpp"

#include <charconv>
#include <cmath>
#include <sstream>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/alarms/text_measures.hpp"
#include "rluf/pipeline/constraints/tasks.hpp"

namespace rluf {
namespace {

[[noreturn]] void fail(const std::string& problem) {
  fail_input("policy.task_settings: " + problem, "a task would not be trained as you mean",
             "write it like: math: weight=2 num_samples=8 kl_max=20 love=0; chat: prompts=4");
}

double number(const std::string& task, const std::string& key, const std::string& text, double low) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    fail(concat("\"", text, "\" for ", key, " of ", task, " is no number"));
  if (value < low) fail(concat(key, "=", text, " of ", task, " is below ", low));
  return value;
}

std::int64_t count(const std::string& task, const std::string& key, const std::string& text) {
  const double value = number(task, key, text, 1);
  if (value != std::floor(value) || value > 1e6) fail(concat(key, "=", text, " of ", task, " is no count"));
  return static_cast<std::int64_t>(value);
}

void set(TaskSetting& setting, const std::string& task, const std::string& key, const std::string& value) {
  if (key == "weight") {
    setting.weight = number(task, key, value, 0);
  } else if (key == "prompts") {
    setting.prompts = count(task, key, value);
  } else if (key == "num_samples") {
    setting.num_samples = count(task, key, value);
  } else if (key == "kl_max") {
    setting.kl_max = number(task, key, value, 0);
  } else if (key == "helpfulness" || key == "safety" || key == "love") {
    setting.factors[key] = number(task, key, value, 0);
  } else {
    fail(concat(task, " has the unknown key ", key,
                " (known: weight, prompts, num_samples, kl_max, helpfulness, safety, love)"));
  }
}

}  // namespace

PolicyOptions TaskSetting::applied_to(PolicyOptions options) const {
  options.num_samples = num_samples;
  options.kl_max = kl_max;
  return options;
}

TaskSettings::TaskSettings(const PolicyOptions& options) {
  const TaskSetting common{.num_samples = options.num_samples, .kl_max = options.kl_max};
  settings_["*"] = common;
  for (const auto& [task, text] : parts_by_task(options.task_settings, fail)) {
    TaskSetting& setting = settings_[task] = common;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      if (equals == word.npos) fail(concat("\"", word, "\" of ", task, " is not key=value"));
      set(setting, task, word.substr(0, equals), word.substr(equals + 1));
    }
  }
  std::int64_t shared = 0;
  std::size_t with_prompts = 0;
  for (const auto& [task, setting] : settings_) {
    if (task != "*") with_prompts += setting.prompts > 0 ? 1 : 0;
    shared += setting.prompts;
  }
  share_rounds_ = shared > 0;
  if (!share_rounds_) return;
  if (with_prompts + 1 != settings_.size()) fail("prompts is given for some tasks and not for others");
  TaskSetting& others = settings_["*"];
  if (others.prompts == 0 && shared <= options.prompts_per_round) {
    others.prompts = options.prompts_per_round - shared;
    shared = options.prompts_per_round;
  }
  if (shared != options.prompts_per_round)
    fail(concat("the tasks have ", shared, " prompts a round, and policy.prompts_per_round is ",
                options.prompts_per_round));
}

TaskWords::TaskWords(const std::string& text) {
  const auto fail_words = [](const std::string& problem) {
    fail_input("policy.task_words: " + problem, "prompts would not be of the task that you mean",
               "write it like: math: solve, how many; code: python");
  };
  for (const auto& [task, phrases] : parts_by_task(text, fail_words)) {
    tasks_.emplace_back(task, phrase_list(phrases));
    if (tasks_.back().second.empty()) fail_words(task + " has no phrase");
  }
}

std::string TaskWords::task_of(const std::string& last_user_message) const {
  const std::string words = normalized_text(last_user_message);
  for (const auto& [task, phrases] : tasks_)
    if (contains_any(words, phrases)) return task;
  return "";
}

std::vector<std::int64_t> round_prompts_of_tasks(const std::vector<std::string>& tasks, const TaskSettings& settings,
                                                 const PolicyOptions& options, std::uint64_t seed, std::int64_t round) {
  const auto num_prompts = static_cast<std::int64_t>(tasks.size());
  if (!settings.share_rounds()) return round_prompts(num_prompts, options.prompts_per_round, seed, round);
  std::vector<std::int64_t> chosen;
  for (const auto& [task, setting] : settings.all()) {
    if (setting.prompts == 0) continue;
    std::vector<std::int64_t> of_task;
    for (std::int64_t i = 0; i < num_prompts; ++i)
      if (tasks[static_cast<std::size_t>(i)] == task) of_task.push_back(i);
    const auto available = static_cast<std::int64_t>(of_task.size());
    if (available < setting.prompts)
      fail_data(concat("there are ", available, " training prompts of the task ", task, ", and each round takes ",
                       setting.prompts),
                "a round would hold a prompt twice", "lower its prompts in policy.task_settings, or give more of them");
    for (const std::int64_t i : round_prompts(available, setting.prompts, seed, round))
      chosen.push_back(of_task[static_cast<std::size_t>(i)]);
  }
  return chosen;
}

RoundTerms terms_of_tasks(const std::vector<RoundTerms>& of_tasks, const std::vector<double>& weights) {
  RLUF_ASSERT(of_tasks.size() == weights.size());
  if (of_tasks.size() == 1 && weights.front() == 1) return of_tasks.front();
  RoundTerms all{{}, 1.0};
  for (std::size_t l = 0; l < of_tasks.size(); ++l)
    for (Term term : of_tasks[l].terms) {
      term.scale *= weights[l] / of_tasks[l].divisor;
      all.terms.push_back(term);
    }
  return all;
}

}  // namespace rluf
