#include "run_stages.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/parallel/run_control.hpp"
#include "rluf/pipeline/pipeline/run_status.hpp"
#include "rluf/pipeline/signals/signal_choice.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr const char* kVersion = "0.1.0";

/// What LibTorch, MPI, HDF5 and their buffers come to once they have been used.
constexpr std::int64_t kProgramBytes = std::int64_t{200} << 20;
/// What the kernels come to that are kept while a stage computes in bfloat16 on a CPU, and the holes between them.
constexpr std::int64_t kBfloat16KernelBytes = std::int64_t{512} << 20;

/// Options that change how a run goes on but not what comes out.
bool is_operational(const std::string& key) {
  static const std::set<std::string> keys{"checkpoint_every_steps", "checkpoint_every_rounds", "log_every_steps",
                                          "skip_bad_steps"};
  return keys.contains(key);
}

/// What a stage's result depends on: its own options and those of all earlier stages, with repeated sections by their
/// kind. Secrets enter as a hash.
Json identity_of(const OptionTable& table, const std::vector<std::string>& sections, const RunConfig& config) {
  Json identity{{"run.seed", config.run.seed}};
  for (const OptionTable::Entry& entry : table.entries()) {
    const bool is_of_stage = std::any_of(sections.begin(), sections.end(), [&](const std::string& section) {
      return kind_of_section(section) == kind_of_section(entry.section);
    });
    if (!is_of_stage || is_operational(entry.key)) continue;
    std::string value = OptionTable::value_text(entry);
    // Until an alarm stops a policy both give the same, and a run that was stopped may go on with report.
    if (entry.name() == "alarms.action" && value == "stop") value = "report";
    identity[entry.name()] = entry.text.secret ? Json(siphash(hash_key("option"), value)) : Json(value);
  }
  return identity;
}

/// What data/signals.json says now, for the stages that learn from it. Not collective.
Json choice_now(const RunConfig& config, const RunDirectory& directory) {
  return choice_identity(signal_choice_path(directory), config.data.signal, config.data.reactors);
}
bool takes_choice(const RunConfig& config) { return config.data.signal == "auto" || config.data.reactors != "keep"; }
bool is_before_choice(const Stage& stage) { return stage.name == "simulate" || stage.name == "signals"; }

/// Whether the stage need not be done, with the choice of signal that is there now. @collective
/// @throws Error(kBadInput) if it was done with another identity
void look_whether_done(PlannedStage& planned, const RunConfig& config, const RunDirectory& directory,
                       const Communicator& comm) {
  if (takes_choice(config) && !is_before_choice(planned.stage)) {
    Json choice;
    guarded(comm, [&] { choice = choice_now(config, directory); });
    if (choice.empty()) return;  // the signals stage is still to come
    planned.identity.update(choice);
  }
  planned.is_done = planned.may_skip && directory.is_done(planned.stage.name, planned.identity);
}

/// What the stage is expected to need, with what the program holds already; the largest of all ranks. A stage whose
/// inputs are missing says so itself when it runs. @unit MiB @collective
std::int64_t estimate_mib(const Stage& stage, const StageContext& context) {
  std::int64_t bytes = 0;
  try {
    if (stage.estimate_bytes) bytes = stage.estimate_bytes(context);
  } catch (const Error&) {
  }
  // Code and work buffers of the libraries, which come into memory when they are first used.
  const std::int64_t program = std::max<std::int64_t>(resident_memory_bytes(), kProgramBytes);
  const bool computes = stage.name != "simulate" && stage.name != "signals" && stage.name != "dataset";
  if (computes && context.model.compute == "bf16" && context.device.is_cpu()) bytes += kBfloat16KernelBytes;
  return context.grid.world.all_reduce((program + bytes) >> 20, Reduce::kMax);
}

void run_stage(const Stage& stage, const StageContext& context) {
  const Communicator& world = context.grid.world;
  const std::int64_t estimate = estimate_mib(stage, context);
  log_info(concat("== ", stage.name, ": ", stage.text, " (memory estimated ", estimate, " MiB per rank)"));
  reset_peak_memory();
  const double start = now_seconds();
  set_progress_mark(stage.name, 0);
  stage.run(context);
  world.barrier();
  const auto peaks = world.all_gather(std::vector<std::int64_t>{peak_memory_bytes() >> 20});
  const std::int64_t peak = *std::max_element(peaks.begin(), peaks.end());
  std::string of_ranks;
  for (std::size_t rank = 0; peaks.size() > 1 && rank < std::min<std::size_t>(8, peaks.size()); ++rank)
    of_ranks += concat(rank ? ", " : " (", peaks[rank]);
  if (!of_ranks.empty()) of_ranks += peaks.size() > 8 ? ", ...)" : ")";
  const double seconds = now_seconds() - start;
  log_info(concat(stage.name, ": done in ", std::lround(seconds), " s; memory estimated ", estimate, " MiB, peak ",
                  peak, " MiB per rank", of_ranks));
  context.directory.append_metrics(stage.name, 0,
                                   {{"stage_seconds", seconds},
                                    {"memory_estimate_mib", static_cast<double>(estimate)},
                                    {"memory_peak_mib", static_cast<double>(peak)}});
}

/// The options that a user gave, for the log: used.ini holds only those of the last start.
std::string given_options(const OptionTable& table) {
  std::string text;
  for (const OptionTable::Entry& entry : table.entries())
    if (entry.origin != "default") text += concat("\n  ", entry.name(), " = ", entry.written, "  (", entry.origin, ")");
  return text.empty() ? "options: all at their defaults" : "options:" + text;
}

/// Time that the batch system leaves to this job, by option or by its environment; 0: unlimited or unknown.
double job_seconds_left(const RunOptions& run) {
  return run.walltime_minutes > 0 ? run.walltime_minutes * 60 : scheduler_seconds_left();
}

}  // namespace

std::string versions() {
  return concat("rluf      ", kVersion, "\n", Environment::versions(), "HDF5      ", Hdf5File::library_version(), "\n");
}

std::vector<PlannedStage> plan_stages(const std::vector<Stage>& wanted, bool may_skip, const RunConfig& config,
                                      const OptionTable& table, const RunDirectory& directory,
                                      const Communicator& comm) {
  std::vector<PlannedStage> plan;
  std::vector<std::string> sections;
  for (const Stage& stage : make_stages(config)) {
    sections.insert(sections.end(), stage.sections.begin(), stage.sections.end());
    const Json identity = identity_of(table, sections, config);
    // Later stages depend on what the signals stage chose, if they use it, and not on its options.
    if (stage.name == "signals") std::erase(sections, "signals");
    if (std::none_of(wanted.begin(), wanted.end(), [&](const Stage& one) { return one.name == stage.name; })) continue;
    plan.push_back({stage, identity, may_skip && stage.name != "report"});
    look_whether_done(plan.back(), config, directory, comm);
  }
  return plan;
}

void run_stages(const std::vector<PlannedStage>& plan, const RunConfig& config, const StageContext& context) {
  for (PlannedStage planned : plan) {
    look_whether_done(planned, config, context.directory, context.grid.world);
    const auto& [stage, identity, may_skip, is_done] = planned;
    if (is_done) {
      log_info(concat(stage.name, ": done before, skipped"));
      continue;
    }
    guarded(context.grid.world, [&] { context.directory.forget_other(stage.name, identity); });
    run_stage(stage, context);
    if (stage.name != "reward" || config.reward.objective == "all") context.directory.mark_done(stage.name, identity);
  }
}

void work_on(const RunDirectory& directory, const Job& job, const std::function<void(const StageContext&)>& work) {
  const RunConfig& config = job.config;
  const Communicator& world = job.grid.world;
  const double seconds_left = job_seconds_left(config.run);
  RunStatus status(directory,
                   {{"command", job.command},
                    {"ranks", world.size()},
                    {"version", kVersion},
                    {"end_seconds", seconds_left > 0 ? static_cast<double>(std::time(nullptr)) + seconds_left : 0.0}},
                   world);
  const Environment& environment = job.environment;
  if (!job.is_part) {
    guarded(world, [&] { set_log_file(directory.path() + "/log.txt"); });
    log_info(concat("rluf ", kVersion, " ", job.command, ", ", job.grid.picture(), ", ", environment.threads(),
                    " threads a rank, device ", environment.device().str()));
    log_info(given_options(job.table));
  }
  guarded(world, [&] {
    if (world.rank() != 0) return;
    write_text(directory.path() + "/used.ini", job.table.print_ini());
    directory.write_table("run", {{"version", kVersion},
                                  {"ranks", world.size()},
                                  {"threads", environment.threads()},
                                  {"device", environment.device().str()},
                                  {"command", job.command},
                                  {"seed", config.run.seed},
                                  {"libraries", versions()}});
  });
  if (!job.is_part) watch_request_file(directory.path() + "/request");
  if (seconds_left > 0 && !job.is_part) {
    set_time_limit(seconds_left, config.run.walltime_margin_seconds);
    log_info(concat("the job ends in ", std::lround(seconds_left / 60), " min: it will stop with a checkpoint before"));
  }
  try {
    work({.run = config.run,
          .model = config.model,
          .directory = directory,
          .grid = job.grid,
          .device = environment.device(),
          .parallel = config.parallel});
  } catch (...) {
    const auto [code, message] = describe_error(std::current_exception());
    status.end(code == ExitCode::kStopped ? "stopped" : "failed", message);
    throw;
  }
  status.end("done");
}

}  // namespace rluf
