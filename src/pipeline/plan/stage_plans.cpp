#include <algorithm>
#include <cmath>

#include "rluf/pipeline/signals/interaction.hpp"
#include "stage_figures.hpp"

namespace rluf {

PlanSetting setting_of(const PlanInput& input, const PlanLayout& layout) {
  return {&input.machine, layout, input.compute_bytes, input.reproducible, Quantity("overlap", input.options.overlap)};
}

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

void add_mfu(StagePlan& stage, const Phase& step, const Quantity& ranks, const Machine& machine) {
  const Quantity mfu = (step.useful_flops / (step.seconds * ranks * machine.peak)).as("MFU");
  stage.figures.push_back({"MFU: useful operations by what the peak could do", mfu});
  stage.mfu = mfu.value();
}

Phase reference_pass(const PlannedModel& model, const std::string& role, const StepExamples& step, bool from_host,
                     const PlanSetting& setting) {
  StepExamples documents = step;
  documents.examples = step.examples * step.documents_each;
  documents.documents_each = 1;
  return scoring_phase({role, model.shape, model.config}, documents, from_host, setting);
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

StagePlan plan_signals(const PlanInput& input, const PlanLayout& layout) {
  StagePlan stage{.name = "signals", .shape = "-"};
  const PlanOptions& options = input.options;
  const Machine& machine = input.machine;
  const Quantity ranks = ranks_of(layout), rows("I", input.log_rows),
                 row_bytes("row_bytes", static_cast<double>(sizeof(Interaction))),
                 lines_rate("lines_rate", options.log_lines_per_second),
                 rows_rate("rows_rate", options.log_rows_per_second);
  const Quantity mine = ceil(rows / ranks).as("I_rank"), unpacking = (rows / lines_rate).as("s_unpack"),
                 counting = (mine / rows_rate).as("s_count"), dealt = (row_bytes * mine).as("B_dealt"),
                 dealing = ((ranks - 1) / ranks * dealt / machine.network_rate).as("s_deal");
  const Quantity host = (3 * dealt + Quantity(33554432)).as("m_host");
  stage.steps = 1;
  stage.seconds = (unpacking + counting + dealing).as("s_stage");
  stage.step_seconds = stage.seconds;
  stage.peak_bytes = (machine.on_host ? 1 * host : Quantity(0)).as("m_peak");
  stage.figures = {{"ranks", ranks},
                   {"rows of the log", rows},
                   {"a rank's rows", mine},
                   {"bytes of a row without its texts", row_bytes, "B"},
                   {"lines that a rank unpacks", lines_rate, "lines/s"},
                   {"rows that a rank reads and counts", rows_rate, "rows/s"},
                   {"unpacking: every rank goes through the whole log", unpacking, "s"},
                   {"reading and counting a rank's share", counting, "s"},
                   {"all ranks, rows to the ranks of their users: bytes", dealt, "B"},
                   {"  seconds, through the adapters", dealing, "s"},
                   {"memory of the host for a rank: rows three times while they travel, and counts", host, "B"}};
  add_totals(stage, input, ranks);
  stage.bound = unpacking.value() > counting.value() ? "unpacking" : "reading rows";
  return stage;
}

StagePlan plan_evaluate(const PlanInput& input, const PlanLayout& layout) {
  StagePlan stage{.name = "evaluate", .shape = "audit"};
  const Quantity ranks = ranks_of(layout);
  const StepExamples rows{.examples = input.audit_rows,
                          .tokens_each = input.options.love_tokens,
                          .micro_batch_tokens = input.audit_micro_batch_tokens};
  for (const PlannedModel& model : input.audited) {
    Phase phase = scoring_phase(model, rows, false, setting_of(input, layout));
    const Quantity held = phase.lasting_bytes + phase.bytes;
    const bool first = stage.phases.empty();
    stage.seconds = first ? phase.seconds : stage.seconds + phase.seconds;
    stage.peak_bytes = first ? held : max(stage.peak_bytes, held);
    stage.phases.push_back(std::move(phase));
  }
  stage.seconds = stage.seconds.as("s_stage");
  stage.step_seconds = stage.seconds;
  stage.steps = 1;
  stage.peak_bytes = stage.peak_bytes.as("m_peak");
  const Quantity tokens =
      (Quantity("audit_rows", input.audit_rows) * Quantity("love_tokens", input.options.love_tokens) *
       Quantity("models", static_cast<double>(input.audited.size())) / (stage.seconds * ranks))
          .as("token_rate");
  stage.tokens_per_second = tokens.value();
  stage.figures = {
      {"ranks", ranks},
      {"rows of the audit", Quantity("audit_rows", input.audit_rows)},
      {"tokens of a row", Quantity("love_tokens", input.options.love_tokens)},
      {"models that score them, one after another", Quantity("models", static_cast<double>(input.audited.size()))}};
  add_totals(stage, input, ranks);
  stage.figures.push_back({"tokens a second and rank", tokens, "tokens/s"});
  stage.bound = stage.phases.front().bound;
  return stage;
}

}  // namespace rluf
