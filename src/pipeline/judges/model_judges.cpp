#include "rluf/pipeline/judges/model_judges.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/model/scoring.hpp"
#include "rluf/model/training.hpp"
#include "rluf/pipeline/dataset/examples.hpp"

namespace rluf {
namespace {

/// A conversation of one user message is that message.
std::string text_of(const std::vector<Message>& messages) {
  if (messages.size() == 1 && messages[0].role == "user") return messages[0].content;
  std::string text;
  for (const Message& message : messages) text += (text.empty() ? "" : "\n\n") + message.role + ": " + message.content;
  return text;
}

std::int32_t single_token(const std::string& option, const std::string& token, const Tokenizer& tokenizer) {
  const TokenIds ids = tokenizer.encode(token);
  if (ids.size() != 1)
    fail_input(concat("policy.", option, " = ", token, " is ", ids.size(), " tokens of policy.judge_model"),
               "the judge compares the probabilities of two tokens", "choose a word that is one token there");
  return ids[0];
}

}  // namespace

std::vector<Verdict> ThresholdJudge::verdicts(const std::vector<JudgedResponse>& responses) const {
  std::vector<Verdict> verdicts;
  for (const auto& value : measure_(responses))
    verdicts.push_back(!value || std::isnan(*value) ? Verdict::kFailed
                       : *value >= threshold_       ? Verdict::kSatisfied
                                                    : Verdict::kViolated);
  return verdicts;
}

std::string filled_question(const std::string& question, const JudgedResponse& response) {
  const std::vector<std::pair<std::string, std::string>> parts = {
      {"{prompt}", response.prompt == nullptr ? "" : text_of(*response.prompt)},
      {"{response}", response.text},
      {"{answer}", response.constraints == nullptr ? "" : response.constraints->answer.value_or("")},
      {"\\n", "\n"}};
  std::string text;
  for (std::size_t i = 0; i < question.size();) {
    const auto part = std::find_if(parts.begin(), parts.end(),
                                   [&](const auto& p) { return question.compare(i, p.first.size(), p.first) == 0; });
    if (part == parts.end()) {
      text += question[i++];
    } else {
      text += part->second;
      i += part->first.size();
    }
  }
  return text;
}

double satisfied_share(double log_satisfied, double log_violated) {
  return 1 / (1 + std::exp(log_violated - log_satisfied));
}

std::optional<double> fitted_threshold(std::span<const double> good_scores, double rate) {
  std::vector<double> sorted(good_scores.begin(), good_scores.end());
  std::sort(sorted.begin(), sorted.end());
  const auto k = static_cast<std::size_t>(std::floor(rate * static_cast<double>(sorted.size() + 1) + 1e-9));
  if (k == 0 || k > sorted.size()) return {};
  return sorted[k - 1];
}

ResponseMeasure token_measure(const JudgeOptions& options, const Llama& model, const ModelText& text,
                              const MeasureContext& context) {
  const std::vector<std::int32_t> tokens = {
      single_token("judge_satisfied_token", options.model_satisfied_token, text.tokenizer),
      single_token("judge_violated_token", options.model_violated_token, text.tokenizer)};
  const bool needs_answer = options.model_question.find("{answer}") != std::string::npos;
  return [&model, &text, context, tokens, needs_answer,
          question = options.model_question](const std::vector<JudgedResponse>& responses) {
    std::vector<TokenIds> documents;
    std::vector<std::size_t> which;
    guarded(context.comm, [&] {
      for (std::size_t i = 0; i < responses.size(); ++i) {
        const Constraints* constraints = responses[i].constraints;
        if (needs_answer && (constraints == nullptr || !constraints->answer)) continue;
        TokenIds document = text.chat.prompt({{"user", filled_question(question, responses[i])}});
        if (static_cast<std::int64_t>(document.size()) > model.config().max_position_embeddings) continue;
        documents.push_back(std::move(document));
        which.push_back(i);
      }
    });
    std::vector<std::optional<double>> values(responses.size());
    const auto log_probs =
        next_token_log_probs(model, documents, tokens, context.micro_batch_tokens, context.comm, "judge model");
    for (std::size_t d = 0; d < which.size(); ++d)
      values[which[d]] = satisfied_share(log_probs[2 * d], log_probs[2 * d + 1]);
    return values;
  };
}

ResponseMeasure score_measure(const RewardModel& reward, const MeasureContext& context) {
  return [&reward, context](const std::vector<JudgedResponse>& responses) {
    std::vector<Document> documents;
    guarded(context.comm, [&] {
      const std::vector<Message> none;
      for (const JudgedResponse& response : responses)
        documents.push_back(render_document(response.prompt == nullptr ? none : *response.prompt, response.text,
                                            *reward.text, context.max_turns, context.max_tokens)
                                .document);
    });
    std::vector<std::optional<double>> values;
    for (const double score : reward.scores(documents, context.micro_batch_tokens, context.comm, "judge score").raw)
      values.emplace_back(calibrated_probability(score, reward.calibration));
    return values;
  };
}

namespace {

/// Threshold on the calibrated probability, from the held-out preferred responses of the model's own objective.
double threshold_of_good(const JudgeOptions& options, const RewardModel& reward, const MeasureContext& measuring,
                         const StageContext& context) {
  const std::string& objective = reward.calibration.objective;
  if (objective != "helpfulness" && objective != "safety")
    fail_input(concat("policy.score_false_alarms needs pairs, but policy.score_model is a model of ", objective),
               "good responses are the preferred ones of held-out pairs",
               "set it to 0 and give policy.score_threshold");
  const PairData pairs(context.directory.data(objective + ".h5"), Split::kHoldout, measuring.comm);
  std::vector<double> probabilities;
  for (const double score :
       reward.scores(pairs.chosen(), measuring.micro_batch_tokens, measuring.comm, "judge score").raw)
    probabilities.push_back(calibrated_probability(score, reward.calibration));
  const auto threshold = fitted_threshold(probabilities, options.score_false_alarms);
  if (!threshold)
    fail_input(concat("policy.score_false_alarms = ", options.score_false_alarms, " cannot be kept with ",
                      probabilities.size(), " held-out pairs of ", objective),
               concat("so small a rate needs ", std::ceil(1 / options.score_false_alarms) - 1, " of them"),
               "raise the rate or data.holdout_share, or give policy.score_threshold");
  log_info(concat("judge score: threshold ", *threshold, " for at most ", 100 * options.score_false_alarms,
                  " % of good responses below it, from ", probabilities.size(), " held-out ones"));
  return *threshold;
}

}  // namespace

JudgeModels::JudgeModels(const JudgeOptions& options, const MeasureContext& measuring, const StageContext& context) {
  tools_.comm = measuring.comm;
  guarded(measuring.comm, [&] {
    if (options.has("model")) {
      chat_.emplace(Llama::load(options.model, context.device, 0, 0, context.layout()));
      chat_->set_compute_type(compute_type(context.model));
      chat_text_ = load_model_text(options.model, context.model);
      tools_.model_probability = token_measure(options, *chat_, *chat_text_, measuring);
    }
    if (options.has("score")) {
      reward_.emplace(RewardModel::load(options.score_model, context.model, context.device, context.layout()));
      tools_.score_probability = score_measure(*reward_, measuring);
    }
  });
  if (reward_ && options.score_false_alarms > 0)
    tools_.score_threshold = threshold_of_good(options, *reward_, measuring, context);
}

std::int64_t judge_memory_bytes(const JudgeOptions& options) {
  std::int64_t bytes = 0;
  for (const auto& [judge, folder] : {std::pair{"model", &options.model}, {"score", &options.score_model}})
    if (options.has(judge) && std::filesystem::exists(*folder + "/config.json"))
      bytes += text_memory_bytes(*folder) / 4 + weight_bytes(LlamaConfig::from_folder(*folder));
  return bytes;
}

void check_model_judges(const JudgeOptions& options) {
  const auto need = [&](const char* judge, const char* option, const std::string& folder) {
    if (options.has(judge) && folder.empty())
      fail_input(concat("policy.", option, " is empty"), concat("policy.judges names the judge ", judge),
                 "name a model folder, or leave that judge out");
  };
  need("model", "judge_model", options.model);
  need("score", "score_model", options.score_model);
  if (!options.has("model")) return;
  if (options.model_question.find("{response}") == std::string::npos)
    fail_input("policy.judge_question has no {response}", "the judge model would not see what it judges",
               "put {response} where the response belongs");
  if (options.model_satisfied_token == options.model_violated_token)
    fail_input("policy.judge_satisfied_token and policy.judge_violated_token are the same",
               "every response would be as likely satisfied as violated", "choose two words");
}

}  // namespace rluf
