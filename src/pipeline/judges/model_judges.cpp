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

/// What a part in braces of a question stands for; nothing: it stands for itself.
std::optional<std::string> part_of_question(const std::string& part, const JudgedResponse& response) {
  if (part == "prompt") return response.prompt == nullptr ? "" : text_of(*response.prompt);
  if (part == "response") return response.text;
  if (!is_field(part) || response.constraints == nullptr) return {};
  return field_text(*response.constraints, part);
}

std::int32_t single_token(const std::string& option, const std::string& token, const Tokenizer& tokenizer) {
  const TokenIds ids = tokenizer.encode(token);
  if (ids.size() != 1)
    fail_input(concat(option, " = ", token, " is ", ids.size(), " tokens of the judge's model"),
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
  std::string text;
  for (std::size_t i = 0; i < question.size();) {
    const std::size_t close = question[i] == '{' ? question.find('}', i) : std::string::npos;
    if (question.compare(i, 2, "\\n") == 0) {
      text += '\n';
      i += 2;
    } else if (const auto part = close == std::string::npos
                                     ? std::optional<std::string>()
                                     : part_of_question(question.substr(i + 1, close - i - 1), response)) {
      text += *part;
      i = close + 1;
    } else {
      text += question[i++];
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

ResponseMeasure token_measure(const std::string& name, const NamedJudge& judge, const Llama& model,
                              const ModelText& text, const MeasureContext& context) {
  const std::string section = concat("judge.", name, ".");
  const std::vector<std::int32_t> tokens = {
      single_token(section + "satisfied_token", judge.satisfied_token, text.tokenizer),
      single_token(section + "violated_token", judge.violated_token, text.tokenizer)};
  return
      [&model, &text, context, tokens, name, question = judge.question](const std::vector<JudgedResponse>& responses) {
        std::vector<TokenIds> documents;
        std::vector<std::size_t> which;
        guarded(context.comm, [&] {
          for (std::size_t i = 0; i < responses.size(); ++i) {
            TokenIds document = text.chat.prompt({{"user", filled_question(question, responses[i])}});
            if (static_cast<std::int64_t>(document.size()) > model.config().max_position_embeddings) continue;
            documents.push_back(std::move(document));
            which.push_back(i);
          }
        });
        std::vector<std::optional<double>> values(responses.size());
        const auto log_probs =
            next_token_log_probs(model, documents, tokens, context.micro_batch_tokens, context.comm, "judge " + name);
        for (std::size_t d = 0; d < which.size(); ++d)
          values[which[d]] = satisfied_share(log_probs[2 * d], log_probs[2 * d + 1]);
        return values;
      };
}

ResponseMeasure score_measure(const std::string& name, const RewardModel& reward, const MeasureContext& context) {
  return [&reward, context, name](const std::vector<JudgedResponse>& responses) {
    std::vector<Document> documents;
    guarded(context.comm, [&] {
      const std::vector<Message> none;
      for (const JudgedResponse& response : responses)
        documents.push_back(render_document(response.prompt == nullptr ? none : *response.prompt, response.text,
                                            *reward.text, context.max_turns, context.max_tokens)
                                .document);
    });
    std::vector<std::optional<double>> values;
    for (const double score : reward.scores(documents, context.micro_batch_tokens, context.comm, "judge " + name).raw)
      values.emplace_back(calibrated_probability(score, reward.calibration));
    return values;
  };
}

namespace {

/// Threshold on the calibrated probability, from the held-out preferred responses of the model's own objective.
double threshold_of_good(const std::string& name, double false_alarms, const RewardModel& reward,
                         const MeasureContext& measuring, const StageContext& context) {
  const std::string option = concat("judge.", name, ".false_alarms"),
                    instead = concat("give judge.", name, ".threshold");
  const std::string& objective = reward.calibration.objective;
  if (objective != "helpfulness" && objective != "safety")
    fail_input(concat(option, " needs pairs, but its model is one of ", objective),
               "good responses are the preferred ones of held-out pairs", concat("set it to 0 and ", instead));
  const PairData pairs(context.directory.data(objective + ".h5"), Split::kHoldout, measuring.comm);
  std::vector<double> probabilities;
  for (const double score :
       reward.scores(pairs.chosen(), measuring.micro_batch_tokens, measuring.comm, "judge " + name).raw)
    probabilities.push_back(calibrated_probability(score, reward.calibration));
  const auto threshold = fitted_threshold(probabilities, false_alarms);
  if (!threshold)
    fail_input(concat(option, " = ", false_alarms, " cannot be kept with ", probabilities.size(), " held-out pairs of ",
                      objective),
               concat("so small a rate needs ", std::ceil(1 / false_alarms) - 1, " of them"),
               concat("raise the rate or data.holdout_share, or ", instead));
  log_info(concat("judge ", name, ": threshold ", *threshold, " for at most ", 100 * false_alarms,
                  " % of good responses below it, from ", probabilities.size(), " held-out ones"));
  return *threshold;
}

}  // namespace

JudgeModels::JudgeModels(const JudgeOptions& options, const MeasureContext& measuring, const StageContext& context) {
  tools_.comm = measuring.comm;
  const NamedJudges judges = options.used();
  const auto by_model = judges_by_model(judges);
  guarded(measuring.comm, [&] {
    for (const auto& [model, names] : by_model) {
      const auto& [kind, folder] = model;
      if (kind == "model") {
        ChatModel& chat = chats_
                              .emplace(folder, ChatModel{Llama::load(folder, context.device, 0, 0, context.layout()),
                                                         load_model_text(folder, context.model)})
                              .first->second;
        chat.model.set_compute_type(compute_type(context.model));
        for (const std::string& name : names)
          tools_.measures[name] = token_measure(name, judges.at(name), chat.model, *chat.text, measuring);
      } else {
        const RewardModel& reward =
            rewards_.emplace(folder, RewardModel::load(folder, context.model, context.device, context.layout()))
                .first->second;
        for (const std::string& name : names) tools_.measures[name] = score_measure(name, reward, measuring);
      }
    }
  });
  if (!by_model.empty())
    log_info(concat(tools_.measures.size(), " judges are models, for which ", by_model.size(), " are loaded"));
  for (const auto& [name, judge] : judges)
    if (judge.kind == "score" && judge.false_alarms > 0)
      tools_.thresholds[name] =
          threshold_of_good(name, judge.false_alarms, rewards_.at(judge.folder()), measuring, context);
}

std::int64_t judge_memory_bytes(const JudgeOptions& options) {
  std::int64_t bytes = 0;
  for (const auto& [model, names] : judges_by_model(options.used()))
    if (const std::string& folder = model.second; std::filesystem::exists(folder + "/config.json"))
      bytes += text_memory_bytes(folder) / 4 + weight_bytes(LlamaConfig::from_folder(folder));
  return bytes;
}

}  // namespace rluf
