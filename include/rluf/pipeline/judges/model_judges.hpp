#pragma once
/// Judges that are models. A chat model is asked a question about the response and decides by the probabilities of two
/// tokens, never by sampling (CGPO, arXiv 2409.20370, appendix B: violated iff P(negative) > P(positive)). A reward
/// model decides by a threshold, which can be fitted for a wanted rate of false alarms.
#include <span>
#include <string>
#include <vector>

#include "rluf/pipeline/judges/judges.hpp"
#include "rluf/pipeline/reward/reward_model.hpp"
#include "rluf/pipeline/stage.hpp"

namespace rluf {

/// Satisfied from the threshold on; a response without a number, or with one that is none, counts as failed.
class ThresholdJudge : public Judge {
 public:
  ThresholdJudge(std::string name, double threshold, ResponseMeasure measure)
      : name_(std::move(name)), threshold_(threshold), measure_(std::move(measure)) {}
  std::string name() const override { return name_; }
  std::vector<Verdict> verdicts(const std::vector<JudgedResponse>& responses) const override;

 private:
  std::string name_;
  double threshold_;
  ResponseMeasure measure_;
};

/// The question with {prompt}, {response} and fields of the prompt filled in, and \n as new lines. What is filled in is
/// not looked at again. A prompt of several messages is given with their roles.
std::string filled_question(const std::string& question, const JudgedResponse& response);

/// P(satisfied) / (P(satisfied) + P(violated)) from log-probabilities. @unit 0..1
double satisfied_share(double log_satisfied, double log_violated);

/// The largest threshold at which a new good response falls below it with a probability of at most `rate`, from the
/// scores of n good responses: the floor(rate * (n + 1))-th smallest. Nothing if there are too few (n + 1 < 1 / rate).
/// @source Vovk et al., "Algorithmic Learning in a Random World", 2005: split conformal prediction
std::optional<double> fitted_threshold(std::span<const double> good_scores, double rate);

/// What all measures need of the stage. Outlives them.
struct MeasureContext {
  std::int64_t micro_batch_tokens = 0, max_turns = 0, max_tokens = 0;
  const Communicator& comm;
};

/// Of a chat model. A question too long for the model gives nothing.
/// @throws Error(kBadInput) if a token is none: `name` is the judge's
ResponseMeasure token_measure(const std::string& name, const NamedJudge& judge, const Llama& model,
                              const ModelText& text, const MeasureContext& context);
/// Of a reward model: the probability by its own calibration.
ResponseMeasure score_measure(const std::string& name, const RewardModel& model, const MeasureContext& context);

/// The models of the judges of these kinds that judge, each folder loaded once. @collective constructor
/// @throws Error(kBadInput) if a folder is none, or held-out responses for a threshold are missing or too few
class JudgeModels {
 public:
  JudgeModels(const JudgeOptions& options, const MeasureContext& measuring, const StageContext& context);
  JudgeModels(const JudgeModels&) = delete;  // the measures point to the models
  JudgeModels& operator=(const JudgeModels&) = delete;
  /// With what these models measure. Valid as long as this.
  JudgeTools tools() const { return tools_; }

 private:
  struct ChatModel {
    Llama model;
    std::unique_ptr<ModelText> text;
  };
  std::map<std::string, ChatModel> chats_;  // by folder
  std::map<std::string, RewardModel> rewards_;
  JudgeTools tools_;
};
/// Of their weights, on one rank. @unit bytes
std::int64_t judge_memory_bytes(const JudgeOptions& options);

}  // namespace rluf
