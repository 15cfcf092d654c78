#include <algorithm>
#include <cmath>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/plan/plan.hpp"

namespace rluf {
namespace {

PlanSetting setting_of(const PlanInput& input, const PlanLayout& layout) {
  return {&input.machine, layout, input.compute_bytes, input.reproducible, Quantity("overlap", input.options.overlap)};
}

/// Weights and two moments of what is trained, in float32.
void add_checkpoint(StagePlan& stage, const LlamaConfig& config, std::int64_t trainable_layers,
                    const Machine& machine) {
  const Quantity trained("P_all_trained",
                         static_cast<double>(element_counts(config, PlanLayout{}, trainable_layers).trained_local));
  stage.checkpoint_bytes = (12 * trained).as("B_checkpoint");
  stage.checkpoint_seconds = (stage.checkpoint_bytes / machine.file_rate).as("s_checkpoint");
  stage.figures.push_back({"elements of all trained parameters", trained});
  stage.figures.push_back({"a checkpoint: weights and two moments", stage.checkpoint_bytes, "B"});
  stage.figures.push_back({"written beside the training", stage.checkpoint_seconds, "s"});
}

void add_totals(StagePlan& stage, const PlanInput& input, const Quantity& ranks) {
  const Quantity hours = (stage.seconds / 3600).as("hours");
  const Quantity available = (input.machine.memory - input.machine.program - input.machine.spare).as("available");
  stage.figures.push_back({"the stage", stage.seconds, "s"});
  stage.figures.push_back({"  hours", hours, "h"});
  stage.figures.push_back({"  hours of all ranks", (hours * ranks).as("rank_hours"), "h"});
  stage.figures.push_back({"memory of a rank at the peak", stage.peak_bytes, "B"});
  stage.figures.push_back({"there is", available, "B"});
}

/// Model FLOPs utilisation: the share of the peak that useful operations take.
void add_mfu(StagePlan& stage, const Phase& step, const Quantity& ranks, const Machine& machine) {
  const Quantity mfu = (step.useful_flops / (step.seconds * ranks * machine.peak)).as("MFU");
  stage.figures.push_back({"MFU: useful operations by what the peak could do", mfu});
  stage.mfu = mfu.value();
}

Quantity ranks_of(const PlanLayout& layout) { return {"ranks", static_cast<double>(layout.ranks)}; }

/// What the judges of the policy stage cost on one layout.
struct Judging {
  std::vector<Phase> phases;
  Quantity seconds = 0, lasting = 0, besides = 0, in_host = 0;
};

/// Documents that every judge reads: a prompt with a response.
StepExamples judged_documents(const PlanInput& input, double documents, bool rows) {
  return {.examples = documents,
          .tokens_each = input.options.prompt_tokens + input.options.response_tokens,
          .rows_each = rows ? input.options.response_tokens : 0,
          .micro_batch_tokens = input.policy.train.micro_batch_tokens};
}

/// The tensor axis of a judge on a node of its own: the shortest that its weights fit on.
PlanLayout group_layout(const PlannedModel& judge, const PlanInput& input) {
  PlanLayout layout{.ranks = input.given.ranks_per_node, .ranks_per_node = input.given.ranks_per_node};
  const double room = input.machine.memory.value() - input.machine.program.value() - input.machine.spare.value();
  for (const PlanLayout& candidate : all_layouts(layout.ranks, layout.ranks_per_node, {judge.config})) {
    if (candidate.shard > 1 || candidate.recompute != Recompute::kNone) continue;
    layout = candidate;
    if (1.25 * 4 * static_cast<double>(element_counts(judge.config, layout).local) < room) break;
  }
  return layout;
}

Judging judge(const PlanInput& input, const PlanLayout& layout, JudgePlacement placement, double documents,
              bool with_reference) {
  Judging judging;
  for (std::size_t i = with_reference ? 0 : 1; i < input.judges.size(); ++i) {
    const PlannedModel& model = input.judges[i];
    const bool own_group = placement == JudgePlacement::kGroups;
    const PlanLayout where = own_group ? group_layout(model, input) : layout;
    Phase phase = scoring_phase(model, judged_documents(input, documents, model.config.num_scores == 0),
                                placement == JudgePlacement::kHost, setting_of(input, where));
    const bool first = judging.phases.empty();
    if (own_group) {
      judging.seconds = first ? phase.seconds : max(judging.seconds, phase.seconds);
      // The ranks of the groups are other ones than the policy's.
      judging.besides =
          first ? phase.lasting_bytes + phase.bytes : max(judging.besides, phase.lasting_bytes + phase.bytes);
    } else {
      judging.seconds = first ? phase.seconds : judging.seconds + phase.seconds;
      const Quantity& lasting = phase.lasting_bytes;
      const Quantity besides = placement == JudgePlacement::kHost ? lasting + phase.bytes : phase.bytes;
      judging.besides = first ? besides : max(judging.besides, besides);
      Quantity& place = placement == JudgePlacement::kSharded ? judging.lasting : judging.in_host;
      place = place + lasting;
    }
    judging.phases.push_back(std::move(phase));
  }
  return judging;
}

/// The policy's layout on what the groups leave: its shard axis shrinks to a divisor.
PlanLayout rest_layout(const PlanInput& input, PlanLayout layout) {
  const std::int64_t own = group_ranks(input);
  if (own == 0) fail_input("plan.placement = groups", "there are not enough nodes for a group a model", "use sharded");
  layout.ranks -= own;
  while (layout.replicas() % layout.shard != 0) --layout.shard;
  return layout;
}

/// A pass of the documents of a step, or of so many responses, through a model that is not trained.
Phase reference_pass(const PlannedModel& model, const std::string& role, const StepExamples& step, bool from_host,
                     const PlanSetting& setting) {
  StepExamples documents = step;
  documents.examples = step.examples * step.documents_each;
  documents.documents_each = 1;
  return scoring_phase({role, model.shape, model.config}, documents, from_host, setting);
}

GenerationWork generation_work(const PlanInput& input, double prompts, double samples, std::int64_t longest,
                               std::int64_t at_once) {
  return {prompts,
          samples,
          input.options.prompt_tokens,
          input.options.response_tokens,
          std::max(input.options.response_tokens, static_cast<double>(longest)),
          at_once};
}

}  // namespace

std::int64_t group_ranks(const PlanInput& input) {
  const std::int64_t wanted = static_cast<std::int64_t>(input.judges.size()) * input.given.ranks_per_node;
  return wanted < input.given.ranks && input.given.ranks % input.given.ranks_per_node == 0 ? wanted : 0;
}

StagePlan plan_training(const PlannedTraining& training, const PlanInput& input, const PlanLayout& layout) {
  StagePlan stage{.name = training.model.role, .shape = training.model.shape};
  const PlanSetting setting = setting_of(input, layout);
  Phase step = training_step(training.model, training.step, setting);
  std::vector<Phase> passes;
  if (training.preference) passes.push_back(reference_pass(training.model, "reference", training.step, false, setting));
  const Quantity ranks = ranks_of(layout), B("B", training.step.examples);
  const Quantity examples("examples", std::ceil(training.options.epochs * training.examples));
  stage.steps = ceil(examples / B);
  if (training.options.max_steps > 0) stage.steps = min(stage.steps, static_cast<double>(training.options.max_steps));
  stage.steps = stage.steps.as("steps");
  stage.step_seconds = step.seconds;
  Quantity bytes = step.lasting_bytes + step.bytes;
  for (const Phase& pass : passes) {
    stage.step_seconds = (step.seconds + pass.seconds).as("s_both");
    bytes = bytes + pass.lasting_bytes + pass.bytes;
  }
  stage.seconds = (stage.steps * stage.step_seconds).as("s_stage");
  stage.peak_bytes = bytes.as("m_peak");
  const Quantity tokens =
      (B * Quantity("example_tokens", training.step.documents_each * training.step.tokens_each)).as("tokens");
  const Quantity rate = (tokens / (stage.step_seconds * ranks)).as("token_rate");
  stage.tokens_per_second = rate.value();
  stage.figures = {{"examples of all epochs", examples}, {"steps", stage.steps}};
  if (training.preference) stage.figures.push_back({"a step with the reference's pass", stage.step_seconds, "s"});
  const std::vector<Figure> speed = {{"tokens of a step", tokens}, {"tokens a second and rank", rate, "tokens/s"}};
  stage.figures.insert(stage.figures.end(), speed.begin(), speed.end());
  add_mfu(stage, step, ranks, input.machine);
  add_checkpoint(stage, training.model.config, training.options.trainable_layers, input.machine);
  add_totals(stage, input, ranks);
  stage.bound = step.bound;
  stage.phases.push_back(std::move(step));
  std::move(passes.begin(), passes.end(), std::back_inserter(stage.phases));
  return stage;
}

StagePlan plan_policy(const PlanInput& input, const PlanLayout& given, JudgePlacement placement) {
  const PlanLayout layout = placement == JudgePlacement::kGroups ? rest_layout(input, given) : given;
  const PolicyOptions& policy = input.policy;
  const PlanSetting setting = setting_of(input, layout);
  const auto per_round = static_cast<double>(policy.prompts_per_round),
             samples = static_cast<double>(policy.num_samples), visits = static_cast<double>(policy.rounds) * per_round;
  StagePlan stage{.name = "policy", .shape = input.policy_model.shape};

  // Once: a baseline response to each prompt, and its scores by the reward models.
  const double different = input.options.prompts > 0 ? std::min(input.options.prompts, visits) : visits;
  Phase first = generation_phase("baseline responses", input.policy_model,
                                 generation_work(input, different, 1, policy.max_new_tokens,
                                                 policy.batching.prompts_per_batch * policy.num_samples),
                                 setting);
  Judging first_scores = judge(input, layout, placement, different, false);
  const Quantity baseline = first.seconds.as("s_baseline"),
                 baseline_score = first_scores.seconds.as("s_baseline_score");
  first.figures.push_back({"baseline responses, once", baseline, "s"});
  first_scores.phases.back().figures.push_back({"scores of the baseline responses, once", baseline_score, "s"});

  // A round.
  Phase generate = generation_phase(
      "generate", input.policy_model,
      generation_work(input, per_round, samples, policy.max_new_tokens, policy.batching.prompts_per_batch), setting);
  Judging judging = judge(input, layout, placement, per_round * samples, true);
  const WorkPerPrompt work = work_per_prompt(policy);
  StepExamples chosen = judged_documents(input, per_round * work.terms, true);
  chosen.documents_each = work.responses_each;
  chosen.trainable_layers = policy.train.trainable_layers;
  Phase step = training_step(input.policy_model, chosen, setting);
  std::vector<Phase> passes;  // through models that are not trained, beside the judges
  Quantity step_seconds = step.seconds, training = step.bytes, scored = judging.seconds;
  if (work.reference_in_loss) {
    passes.push_back(
        reference_pass(input.policy_model, "reference_in_loss", chosen, placement == JudgePlacement::kHost, setting));
    step_seconds = step.seconds + passes.back().seconds;
    training = step.bytes + passes.back().bytes;
  }
  if (work.policy_scores) {
    passes.push_back(reference_pass(input.policy_model, "policy", judged_documents(input, per_round * samples, true),
                                    false, setting));
    scored = judging.seconds + passes.back().seconds;
  }

  const Quantity ranks("all_ranks", static_cast<double>(given.ranks)),
      weights("love_weights", static_cast<double>(policy.love_weights.size())),
      rounds("rounds", static_cast<double>(policy.rounds)),
      steps_per_round("steps_per_round", static_cast<double>(policy.steps_per_round));
  const Quantity score = scored.as("s_score"), train = (steps_per_round * step_seconds).as("s_train");
  stage.steps = (weights * rounds).as("all_rounds");
  stage.step_seconds = (generate.seconds + score + train).as("s_whole_round");
  stage.seconds = (baseline + baseline_score + stage.steps * stage.step_seconds).as("s_stage");
  const Quantity always = (step.lasting_bytes + judging.lasting).as("m_always");
  training = training.as("m_train");
  const Quantity judged = judging.besides.as("m_judge");
  stage.peak_bytes = (placement == JudgePlacement::kGroups ? max(always + max(generate.bytes, training), judged)
                                                           : always + max(max(generate.bytes, training), judged))
                         .as("m_peak");
  const Quantity rate = (Quantity("Q", per_round) * Quantity("N", samples) *
                         Quantity("response_tokens", input.options.response_tokens) / (generate.seconds * ranks))
                            .as("token_rate");
  stage.tokens_per_second = rate.value();
  const auto percent = [&](const Quantity& part) {
    return std::lround(100 * part.value() / stage.step_seconds.value());
  };
  stage.figures = {
      {"ranks, with those of groups of their own", ranks},
      {"policies, one a love weight", weights},
      {"rounds of each", rounds},
      {"optimizer steps of a round", steps_per_round},
      {placement == JudgePlacement::kGroups ? "judge and score: the slowest group"
                                            : "judge and score: all models in turn",
       score, "s"},
      {"train", train, "s"},
      {concat("a round: generate ", percent(generate.seconds), " %, judge and score ", percent(score), " %, train ",
              percent(train), " %"),
       stage.step_seconds, "s"},
      {"a policy: its rounds", (rounds * stage.step_seconds / 3600).as("policy_hours"), "h"},
      {"rounds of all policies", stage.steps},
      {"what stays: training, and models that are sharded", always, "B"},
      {"besides, while it trains", training, "B"},
      {placement == JudgePlacement::kGroups ? "on the ranks of the groups" : "besides, while it judges", judged, "B"},
      {"generated tokens a second and rank", rate, "tokens/s"}};
  add_mfu(stage, step, ranks, input.machine);
  add_checkpoint(stage, input.policy_model.config, policy.train.trainable_layers, input.machine);
  if (placement == JudgePlacement::kHost) {
    const Quantity node("ranks_per_node", static_cast<double>(layout.ranks_per_node));
    stage.figures.push_back({"ranks of a node", node});
    stage.figures.push_back({"models in the memory of a host", (node * judging.in_host).as("m_host"), "B"});
  }
  if (placement == JudgePlacement::kGroups) {
    const Quantity own("group_ranks", static_cast<double>(group_ranks(input)));
    const Quantity idle =
        ((own * (stage.step_seconds - score) + (ranks - own) * score) / (ranks * stage.step_seconds)).as("idle");
    stage.figures.push_back({"ranks of the models that score", own});
    stage.figures.push_back({"share of the ranks' time in which they wait for the other groups", idle});
    stage.idle_share = idle.value();
  }
  add_totals(stage, input, ranks);
  const std::pair<const char*, const Phase*> parts[] = {
      {"generate", &generate}, {"score", &judging.phases.front()}, {"train", &step}};
  const double seconds[] = {generate.seconds.value(), score.value(), train.value()};
  const auto most = std::max_element(std::begin(seconds), std::end(seconds)) - std::begin(seconds);
  stage.bound = concat(parts[most].first, " (", std::lround(100 * seconds[most] / stage.step_seconds.value()),
                       " %): ", parts[most].second->bound);
  stage.phases.push_back(std::move(first));
  std::move(first_scores.phases.begin(), first_scores.phases.end(), std::back_inserter(stage.phases));
  stage.phases.push_back(std::move(generate));
  std::move(judging.phases.begin(), judging.phases.end(), std::back_inserter(stage.phases));
  stage.phases.push_back(std::move(step));
  std::move(passes.begin(), passes.end(), std::back_inserter(stage.phases));
  return stage;
}

StagePlan plan_validate(const PlanInput& input, const PlanLayout& layout) {
  const ValidationOptions& options = input.validate;
  StagePlan stage{.name = "validate", .shape = input.policy_model.shape};
  const double prompts = input.options.held_out_prompts, samples = static_cast<double>(options.samples_per_prompt);
  const std::int64_t longest = options.max_new_tokens > 0 ? options.max_new_tokens : input.policy.max_new_tokens;
  Phase generate = generation_phase(
      "an arm answers", input.policy_model,
      generation_work(input, prompts, samples, longest, options.batching.prompts_per_batch), setting_of(input, layout));
  const Judging judging = judge(input, layout, JudgePlacement::kSharded, prompts * samples, true);
  const Quantity ranks = ranks_of(layout), score = judging.seconds.as("s_score");
  stage.steps = Quantity("arms", static_cast<double>(input.policy.love_weights.size() + 1));
  stage.step_seconds = (generate.seconds + score).as("s_arm");
  stage.seconds = (stage.steps * stage.step_seconds).as("s_stage");
  const Quantity judged = judging.besides.as("m_judge");
  stage.peak_bytes = (judging.lasting + max(generate.bytes, judged)).as("m_peak");
  const Quantity rate = (Quantity("Q", prompts) * Quantity("N", samples) *
                         Quantity("response_tokens", input.options.response_tokens) / (generate.seconds * ranks))
                            .as("token_rate");
  stage.tokens_per_second = rate.value();
  stage.figures = {{"its answers scored", score, "s"},
                   {"an arm", stage.step_seconds, "s"},
                   {"policies and the reference", stage.steps},
                   {"generated tokens a second and rank", rate, "tokens/s"},
                   {"besides the models, while they score", judged, "B"}};
  add_totals(stage, input, ranks);
  stage.bound = generate.seconds.value() > score.value() ? "generate: " + generate.bound
                                                         : "score: " + judging.phases.front().bound;
  stage.phases.push_back(std::move(generate));
  stage.phases.insert(stage.phases.end(), judging.phases.begin(), judging.phases.end());
  return stage;
}

}  // namespace rluf
