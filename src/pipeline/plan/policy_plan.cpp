#include <algorithm>
#include <cmath>
#include <functional>

#include "rluf/core/error.hpp"
#include "rluf/pipeline/policy/task_settings.hpp"
#include "stage_figures.hpp"

namespace rluf {
namespace {

/// What models that score cost on one layout.
struct Judging {
  std::vector<Phase> phases;
  Quantity seconds = 0, lasting = 0, besides = 0, in_host = 0;
};

/// Prompts with their responses.
StepExamples responses_as_examples(const PlanInput& input, double count) {
  return {.examples = count,
          .tokens_each = input.options.prompt_tokens + input.options.response_tokens,
          .rows_each = input.options.response_tokens,
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

/// How many documents a model scores; 0: it is not asked.
using DocumentsOf = std::function<double(const PlannedScorer&)>;

/// `reference_shared`: it has the weights of the policy in training.
Judging judge(const PlanInput& input, const PlanLayout& layout, JudgePlacement placement, bool reference_shared,
              std::int64_t micro_batch_tokens, const DocumentsOf& documents_of) {
  Judging judging;
  const bool own_group = placement == JudgePlacement::kGroups;
  for (const PlannedScorer& scorer : input.scorers) {
    StepExamples documents = responses_as_examples(input, documents_of(scorer) * scorer.passes);
    if (documents.examples == 0) continue;
    documents.tokens_each += scorer.more_tokens;
    documents.rows_each = scorer.rows_each;
    documents.micro_batch_tokens = micro_batch_tokens;
    const bool shared = reference_shared && scorer.use == PlannedScorer::Use::kReference && !own_group;
    const bool in_host = placement == JudgePlacement::kHost && !shared;
    const PlanLayout where = own_group ? group_layout(scorer.model, input) : layout;
    Phase phase = scoring_phase(scorer.model, documents, in_host, setting_of(input, where));
    const bool first = judging.phases.empty();
    if (own_group) {
      judging.seconds = first ? phase.seconds : max(judging.seconds, phase.seconds);
      // The ranks of the groups are other ones than the policy's.
      judging.besides =
          first ? phase.lasting_bytes + phase.bytes : max(judging.besides, phase.lasting_bytes + phase.bytes);
    } else {
      judging.seconds = first ? phase.seconds : judging.seconds + phase.seconds;
      const Quantity& lasting = phase.lasting_bytes;
      const Quantity besides = in_host ? lasting + phase.bytes : phase.bytes;
      judging.besides = first ? besides : max(judging.besides, besides);
      Quantity& place = in_host ? judging.in_host : judging.lasting;
      if (!shared) place = place + lasting;
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

GenerationWork generation_work(const PlanInput& input, double prompts, double samples, std::int64_t longest,
                               std::int64_t at_once) {
  return {prompts,
          samples,
          input.options.prompt_tokens,
          input.options.response_tokens,
          std::max(input.options.response_tokens, static_cast<double>(longest)),
          at_once};
}

/// Prompts with equally many responses are answered together, one N after another.
struct Generating {
  std::vector<Phase> phases;
  Quantity seconds = 0, bytes = 0;
};

Generating generate_round(const PlanInput& input, const RoundWork& round, const PlanSetting& setting) {
  const PolicyOptions& policy = input.policy;
  Generating all;
  const bool several = round.prompts.size() > 1;
  for (const auto& [samples, prompts] : round.prompts) {
    Phase phase = generation_phase(several ? concat("generate, N = ", samples) : "generate", input.trained_policy(),
                                   generation_work(input, prompts, static_cast<double>(samples), policy.max_new_tokens,
                                                   policy.batching.prompts_per_batch),
                                   setting);
    if (several) {
      phase.seconds = phase.seconds.as(concat("s_generate_", samples));
      phase.bytes = phase.bytes.as(concat("m_generation_", samples));
      phase.figures.push_back({"  of this N", phase.seconds, "s"});
      phase.figures.push_back({"  of this N", phase.bytes, "B"});
    }
    const bool first = all.phases.empty();
    all.seconds = first ? phase.seconds : all.seconds + phase.seconds;
    all.bytes = first ? phase.bytes : max(all.bytes, phase.bytes);
    all.phases.push_back(std::move(phase));
  }
  return all;
}

/// The sum over N of prompts times N.
Quantity responses_of(const RoundWork& round) {
  Quantity sum = 0;
  for (const auto& [samples, prompts] : round.prompts) sum = sum + prompts * Quantity(static_cast<double>(samples));
  return sum.as("responses");
}

}  // namespace

PlannedModel PlanInput::trained_policy() const {
  PlannedModel model = policy_model;
  model.config = trained_config(model.config, policy.train);
  return model;
}

RoundWork round_work(const PolicyOptions& policy) {
  const TaskSettings tasks(policy);
  RoundWork round;
  const auto add = [&](const TaskSetting& task, double prompts) {
    round.prompts[task.num_samples] += prompts;
    round.responses += prompts * static_cast<double>(task.num_samples);
    round.terms += prompts * work_per_prompt(task.applied_to(policy)).terms;
  };
  const auto per_round = static_cast<double>(policy.prompts_per_round);
  if (tasks.share_rounds()) {
    for (const auto& [name, task] : tasks.all())
      if (task.prompts > 0) add(task, static_cast<double>(task.prompts));
    return round;
  }
  const auto fewer = [](const auto& a, const auto& b) { return a.second.num_samples < b.second.num_samples; };
  const auto [least, most] = std::minmax_element(tasks.all().begin(), tasks.all().end(), fewer);
  add(most->second, per_round);
  round.is_bound = least->second.num_samples < most->second.num_samples;
  return round;
}

std::int64_t group_ranks(const PlanInput& input) {
  const std::int64_t wanted = static_cast<std::int64_t>(input.scorers.size()) * input.given.ranks_per_node;
  return wanted < input.given.ranks && input.given.ranks % input.given.ranks_per_node == 0 ? wanted : 0;
}

StagePlan plan_policy(const PlanInput& input, const PlanLayout& given, JudgePlacement placement) {
  const PlanLayout layout = placement == JudgePlacement::kGroups ? rest_layout(input, given) : given;
  const PolicyOptions& policy = input.policy;
  const PlanSetting setting = setting_of(input, layout);
  const auto per_round = static_cast<double>(policy.prompts_per_round),
             visits = static_cast<double>(policy.rounds) * per_round;
  const RoundWork round = round_work(policy);
  const bool shared = policy.train.lora_rank > 0;
  StagePlan stage{.name = "policy", .shape = input.policy_model.shape};

  // Once: a baseline response to each prompt, and its scores by the reward models.
  const double different = input.options.prompts > 0 ? std::min(input.options.prompts, visits) : visits;
  Phase first = generation_phase("baseline responses", input.policy_model,
                                 generation_work(input, different, 1, policy.max_new_tokens,
                                                 policy.batching.prompts_per_batch * policy.num_samples),
                                 setting);
  using Use = PlannedScorer::Use;
  Judging first_scores =
      judge(input, layout, placement, shared, policy.train.micro_batch_tokens, [&](const PlannedScorer& scorer) {
        return scorer.use == Use::kReward || scorer.use == Use::kWitness ? different : 0;
      });
  const Quantity baseline = first.seconds.as("s_baseline"),
                 baseline_score = first_scores.seconds.as("s_baseline_score");
  first.figures.push_back({"baseline responses, once", baseline, "s"});
  first_scores.phases.back().figures.push_back({"scores of the baseline responses, once", baseline_score, "s"});

  // A round.
  Generating generate = generate_round(input, round, setting);
  // Judges see the baseline responses in every round, too.
  Judging judging =
      judge(input, layout, placement, shared, policy.train.micro_batch_tokens,
            [&](const PlannedScorer& scorer) { return round.responses + (scorer.use == Use::kJudge ? per_round : 0); });
  const WorkPerPrompt work = work_per_prompt(policy);
  StepExamples chosen = responses_as_examples(input, round.terms);
  chosen.documents_each = work.responses_each;
  chosen.trainable_layers = policy.train.trainable_layers;
  Phase step = training_step(input.trained_policy(), chosen, setting);
  std::vector<Phase> passes;  // through models that are not trained, beside the judges
  Quantity step_seconds = step.seconds, training = step.bytes, scored = judging.seconds;
  if (work.reference_in_loss) {
    passes.push_back(reference_pass(input.policy_model, "reference_in_loss", chosen,
                                    placement == JudgePlacement::kHost && !shared, setting));
    step_seconds = step.seconds + passes.back().seconds;
    training = step.bytes + passes.back().bytes;
  }
  if (work.policy_scores) {
    passes.push_back(reference_pass(input.trained_policy(), "policy", responses_as_examples(input, round.responses),
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
  const Quantity responses = responses_of(round);
  const Quantity rate =
      (responses * Quantity("response_tokens", input.options.response_tokens) / (generate.seconds * ranks))
          .as("token_rate");
  stage.tokens_per_second = rate.value();
  const auto percent = [&](const Quantity& part) {
    return std::lround(100 * part.value() / stage.step_seconds.value());
  };
  stage.figures = {
      {"ranks, with those of groups of their own", ranks},
      {"policies, one a love weight", weights},
      {"rounds of each", rounds},
      {"responses of a round", responses},
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
  add_checkpoint(stage, input.trained_policy().config, policy.train.trainable_layers, input.machine);
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
      {"generate", &generate.phases.front()}, {"score", &judging.phases.front()}, {"train", &step}};
  const double seconds[] = {generate.seconds.value(), score.value(), train.value()};
  const auto most = std::max_element(std::begin(seconds), std::end(seconds)) - std::begin(seconds);
  stage.bound = concat(parts[most].first, " (", std::lround(100 * seconds[most] / stage.step_seconds.value()),
                       " %): ", parts[most].second->bound);
  stage.phases.push_back(std::move(first));
  std::move(first_scores.phases.begin(), first_scores.phases.end(), std::back_inserter(stage.phases));
  std::move(generate.phases.begin(), generate.phases.end(), std::back_inserter(stage.phases));
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
  using Use = PlannedScorer::Use;
  const Judging judging = judge(
      input, layout, JudgePlacement::kSharded, false, options.micro_batch_tokens, [&](const PlannedScorer& scorer) {
        return scorer.use == Use::kReference || scorer.use == Use::kReward ? prompts * samples : 0;
      });
  const Quantity ranks = ranks_of(layout), score = judging.seconds.as("s_score");
  stage.steps = Quantity("arms", static_cast<double>(input.policy.love_weights.size() + 1));
  stage.step_seconds = (generate.seconds + score).as("s_arm");
  stage.seconds = (stage.steps * stage.step_seconds).as("s_stage");
  const Quantity judged = judging.besides.as("m_judge");
  const PlannedScorer& reference = input.scorers.front();
  const ModelOnLayout arm = model_on(reference.model.config, layout, -1, input.compute_bytes, 8);
  const Quantity arm_bytes = (4 * (layout.divides_weights() ? arm.own : arm.local)).as("m_arm");
  generate.figures.push_back({"the arm's weights, float32", arm_bytes, "B"});
  stage.peak_bytes = (arm_bytes + judging.lasting + max(generate.bytes, judged)).as("m_peak");
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
