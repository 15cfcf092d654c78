#pragma once
/// The policies that are compared, and what they answer.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rluf/model/generation.hpp"
#include "rluf/pipeline/dataset/data_options.hpp"
#include "rluf/pipeline/dataset/examples.hpp"
#include "rluf/pipeline/policy/policy.hpp"
#include "rluf/pipeline/stage.hpp"
#include "rluf/pipeline/validation/validate.hpp"

namespace rluf {

/// One policy of the comparison.
struct Arm {
  std::string name, folder;
  std::optional<double> love_weight;  ///< none: the reference
};
/// The reference, then the policies in the order of policy.love_weights. @throws Error(kBadInput) naming a missing one
std::vector<Arm> find_arms(const PolicyOptions& policy, const StageContext& context);

/// One answer of an arm.
struct Answer {
  Document document;  ///< prompt and response as the arm saw and wrote them
  std::string text;
  bool finished = false;
  double log_prob = 0;  ///< of the response under the arm, at temperature 1
  double num_tokens() const { return static_cast<double>(std::ssize(document.tokens) - document.response_start); }
};

class ArmModel {
 public:
  /// @throws Error(kBadInput) if there is no room for a prompt beside validate.max_new_tokens
  ArmModel(const Arm& arm, const ValidationOptions& options, const DataOptions& data, const StageContext& context);
  /// `num_samples` answers to each prompt; sample k of prompt i is a pure function of (seed, round, ids[i], k) and the
  /// model. @shape ids [num_prompts] -> [num_prompts][num_samples] @collective
  std::vector<std::vector<Answer>> answer(const std::vector<std::vector<Message>>& prompts,
                                          const std::vector<std::int64_t>& ids, std::int64_t num_samples,
                                          std::uint64_t round) const;
  const Llama& model() const { return *model_; }

 private:
  const ValidationOptions& options_;
  const DataOptions& data_;
  const StageContext& context_;
  std::optional<Llama> model_;
  std::unique_ptr<ModelText> text_;
  std::int64_t room_ = 0;  ///< for a prompt. @unit tokens
};

}  // namespace rluf
