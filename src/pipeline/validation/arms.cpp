#include "rluf/pipeline/validation/arms.hpp"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/sft/sft.hpp"

namespace rluf {

std::vector<Arm> find_arms(const PolicyOptions& policy, const StageContext& context) {
  std::vector<Arm> arms{{.name = "reference", .folder = starting_model(policy.base, context), .love_weight = {}}};
  for (const double love_weight : policy.love_weights) {
    const std::string name = policy_name(love_weight);
    arms.push_back({.name = name, .folder = context.directory.model(name), .love_weight = love_weight});
  }
  for (const Arm& arm : arms)
    if (!std::filesystem::exists(arm.folder + "/config.json"))
      fail_input(concat("the policy ", arm.folder, " is missing"), "validation compares all of policy.love_weights",
                 "run the policy stage first");
  return arms;
}

ArmModel::ArmModel(const Arm& arm, const ValidationOptions& options, const DataOptions& data,
                   const StageContext& context)
    : options_(options), data_(data), context_(context) {
  guarded(context.grid.world, [&] {
    model_.emplace(Llama::load(arm.folder, context.device, 0, 0, context.layout()));
    model_->set_compute_type(compute_type(context.model));
    text_ = load_model_text(arm.folder, context.model);
    room_ = std::min(data.max_tokens, model_->config().max_position_embeddings) - options.max_new_tokens;
    if (room_ < 1)
      fail_input(concat("validate.max_new_tokens = ", options.max_new_tokens, " leaves no room for a prompt"),
                 "prompt and response share the context", "lower it, or raise data.max_tokens");
  });
}

std::vector<std::vector<Answer>> ArmModel::answer(const std::vector<std::vector<Message>>& prompts,
                                                  const std::vector<std::int64_t>& ids, std::int64_t num_samples,
                                                  std::uint64_t round) const {
  std::vector<TokenIds> tokens;
  guarded(context_.grid.world, [&] {
    for (const auto& prompt : prompts) tokens.push_back(render_prompt(prompt, *text_, data_.max_turns, room_));
  });
  const auto samples = generate_over_ranks(*model_, tokens, ids,
                                           {.max_new_tokens = options_.max_new_tokens,
                                            .num_samples = num_samples,
                                            .sampling = options_.sampling,
                                            .stop_ids = text_->chat.stop_ids(),
                                            .seed = context_.seed(),
                                            .round = round,
                                            .batching = options_.batching},
                                           context_.grid.world);
  std::vector<std::vector<Answer>> answers(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i)
    for (const Sample& sample : samples[i]) {
      Answer answer{.document = {tokens[i], std::ssize(tokens[i])},
                    .text = text_->tokenizer.decode(sample.tokens),
                    .finished = sample.finished,
                    .log_prob = std::accumulate(sample.log_probs.begin(), sample.log_probs.end(), 0.0)};
      answer.document.tokens.insert(answer.document.tokens.end(), sample.tokens.begin(), sample.tokens.end());
      answers[i].push_back(std::move(answer));
    }
  return answers;
}

}  // namespace rluf
