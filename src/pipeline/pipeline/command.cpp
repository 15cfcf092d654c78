#include "rluf/pipeline/pipeline/command.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <iostream>
#include <set>

#include "restart.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/hash.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/parallel/run_control.hpp"
#include "rluf/parallel/watchdog.hpp"
#include "rluf/pipeline/pipeline/run_config.hpp"
#include "rluf/pipeline/pipeline/run_status.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"
#include "rluf/pipeline/signals/signal_choice.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr const char* kVersion = "0.1.0";

/// What LibTorch, MPI, HDF5 and their buffers come to once they have been used.
constexpr std::int64_t kProgramBytes = std::int64_t{200} << 20;
/// What the kernels come to that are kept while a stage computes in bfloat16 on a CPU, and the holes between them.
constexpr std::int64_t kBfloat16KernelBytes = std::int64_t{512} << 20;

/// Reads and writes small files of a run directory: works on a login node, where MPI may not start.
bool is_login_tool(const std::string& command) {
  return command == "status" || command == "request" || command == "summary";
}

/// Runs on a login node too, from options alone.
bool is_plan(const std::string& command) { return command == "plan" || command == "plan-ab"; }
bool needs_no_mpi(const std::string& command) { return is_login_tool(command) || is_plan(command); }

/// Looks at files on one rank, without a device.
bool is_plain_tool(const std::string& command) {
  return std::set<std::string>{"tokenize", "abtest", "inspect", "compare", "verify", "prune"}.contains(command);
}

bool takes_operands(const std::string& command) {
  return is_plain_tool(command) || is_login_tool(command) ||
         std::set<std::string>{"score", "generate", "export"}.contains(command);
}

/// Options that change how a run goes on but not what comes out.
bool is_operational(const std::string& key) {
  static const std::set<std::string> keys{"checkpoint_every_steps", "checkpoint_every_rounds", "log_every_steps",
                                          "skip_bad_steps"};
  return keys.contains(key);
}

/// What a stage's result depends on: its own options and those of all earlier stages. Secrets enter as a hash.
Json identity_of(const OptionTable& table, const std::vector<std::string>& sections, const RunConfig& config) {
  Json identity{{"run.seed", config.run.seed}};
  for (const OptionTable::Entry& entry : table.entries()) {
    if (std::find(sections.begin(), sections.end(), entry.section) == sections.end() || is_operational(entry.key))
      continue;
    std::string value = OptionTable::value_text(entry);
    // Until an alarm stops a policy both give the same, and a run that was stopped may go on with report.
    if (entry.name() == "alarms.action" && value == "stop") value = "report";
    identity[entry.name()] = entry.text.secret ? Json(siphash(hash_key("option"), value)) : Json(value);
  }
  return identity;
}

std::string versions() {
  return concat("rluf      ", kVersion, "\n", Environment::versions(), "HDF5      ", Hdf5File::library_version(), "\n");
}

/// A stage of the command, and whether an earlier start has finished it.
struct PlannedStage {
  Stage stage;
  Json identity;
  bool may_skip = false, is_done = false;
};

/// What data/signals.json says now, for the stages that learn from it. Not collective.
Json choice_now(const RunConfig& config, const RunDirectory& directory) {
  return choice_identity(signal_choice_path(directory), config.data.signal, config.data.reactors);
}
bool takes_choice(const RunConfig& config) { return config.data.signal == "auto" || config.data.reactors != "keep"; }
bool is_before_choice(const Stage& stage) { return stage.name == "simulate" || stage.name == "signals"; }

/// The stages of a command: all for "run", else the one of that name.
std::vector<Stage> stages_of(const std::string& command, const RunConfig& config) {
  std::vector<Stage> stages = make_stages(config);
  std::erase_if(stages, [&](const Stage& stage) { return command != "run" && command != stage.name; });
  return stages;
}

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

/// `wanted`: "run" for all stages, else the one stage. Looks at all marks first: options that changed since a stage was
/// finished are an error before anything is written. @collective
std::vector<PlannedStage> plan_stages(const std::string& wanted, const RunConfig& config, const OptionTable& table,
                                      const RunDirectory& directory, const Communicator& comm) {
  std::vector<PlannedStage> plan;
  std::vector<std::string> sections;
  for (const Stage& stage : make_stages(config)) {
    sections.insert(sections.end(), stage.sections.begin(), stage.sections.end());
    const Json identity = identity_of(table, sections, config);
    // Later stages depend on what the signals stage chose, if they use it, and not on its options.
    if (stage.name == "signals") std::erase(sections, "signals");
    if (wanted != "run" && wanted != stage.name) continue;
    plan.push_back({stage, identity, wanted == "run" && stage.name != "report"});
    look_whether_done(plan.back(), config, directory, comm);
  }
  return plan;
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

/// The options that a user gave, for the log: used.ini holds only those of the last start.
std::string given_options(const OptionTable& table) {
  std::string text;
  for (const OptionTable::Entry& entry : table.entries())
    if (entry.origin != "default") text += concat("\n  ", entry.name(), " = ", entry.written, "  (", entry.origin, ")");
  return text.empty() ? "options: all at their defaults" : "options:" + text;
}

/// Commands that use one rank and no device.
void run_plain_tool(const CommandLine& line, const RunConfig& config) {
  const Communicator world = Communicator::world();
  guarded(world, [&] {
    if (world.rank() != 0) return;
    if (line.command == "tokenize") tool_tokenize(line.operands);
    if (line.command == "abtest") tool_abtest(config, line.operands);
    if (line.command == "inspect") tool_inspect(config, line.operands);
    if (line.command == "compare") tool_compare(line.operands);
    if (line.command == "verify") tool_verify(line.operands);
    if (line.command == "prune") tool_prune(config, line.operands);
  });
}

/// `rluf plan`, `rluf plan-ab`, and `rluf run --dry-run`.
void run_plan(const CommandLine& line) {
  RunConfig config;
  OptionTable table = config.table();
  table.read(line.ini_files, line.settings);
  if (line.print_config) {
    std::cout << table.print_ini();
    return;
  }
  config.complete();
  if (line.command == "plan-ab") return tool_plan_ab(config);
  std::string name;
  for (const std::string& word : line.ini_files) name += (name.empty() ? "" : " ") + word;
  for (const std::string& setting : line.settings) name += " --" + setting;
  if (name.empty()) name = "the defaults";
  if (line.dry_run) return tool_dry_run(config, name);
  tool_plan(config, name, line.header);
}

/// Time that the batch system leaves to this job, by option or by its environment; 0: unlimited or unknown.
double job_seconds_left(const RunOptions& run) {
  return run.walltime_minutes > 0 ? run.walltime_minutes * 60 : scheduler_seconds_left();
}

void run_with_options(Environment& environment, const CommandLine& line) {
  RunConfig config;
  OptionTable table = config.table();
  table.read(line.ini_files, line.settings);
  if (line.command == "simulate") config.run.simulate = true;
  if (line.command == "options" || line.print_config) {
    if (environment.rank() == 0) std::cout << (line.print_config ? table.print_ini() : parameter_page(table));
    return;
  }
  config.complete();
  config.check(line.command);
  if (line.validate && (takes_operands(line.command) || line.command == "preflight" || line.command == "plan"))
    fail_input(concat("--validate does not go with ", line.command), "it checks what runs and their stages need",
               "leave it out");
  if (is_plain_tool(line.command)) return run_plain_tool(line, config);
  environment.configure(config.run.threads, config.run.device);
  const ProcessGrid grid = ProcessGrid::make(config.parallel.shard, config.parallel.tensor);
  if (!grid.tensor_axis_within_nodes())
    log_warning(concat("parallel.tensor = ", grid.tensor.size(),
                       " crosses nodes: four sums a layer wait for the network; "
                       "a smaller one with a larger parallel.shard is faster"));
  install_signal_handlers();
  const Watchdog watchdog(config.run.watchdog_seconds);
  if (line.command == "preflight") return tool_preflight(config, grid, environment);
  if (line.command == "score") return tool_score(config, line.operands, grid, environment.device());
  if (line.command == "generate") return tool_generate(config, line.operands, grid, environment.device());
  if (line.command == "export") return tool_export(config, line.operands, grid);
  if (line.validate) return validate_inputs(config, line.command, grid);

  const RunDirectory directory(config.run.directory, grid.world, config.run.checkpoints, config.run.metrics);
  // Errors in the options of a start that cannot work end it before it touches lock or log.
  plan_stages(line.command, config, table, directory, grid.world);
  const double seconds_left = job_seconds_left(config.run);
  RunStatus status(directory,
                   {{"command", line.command},
                    {"ranks", grid.world.size()},
                    {"version", kVersion},
                    {"end_seconds", seconds_left > 0 ? static_cast<double>(std::time(nullptr)) + seconds_left : 0.0}},
                   grid.world);
  guarded(grid.world, [&] { set_log_file(directory.path() + "/log.txt"); });
  log_info(concat("rluf ", kVersion, " ", line.command, ", ", grid.picture(), ", ", environment.threads(),
                  " threads a rank, device ", environment.device().str()));
  log_info(given_options(table));
  guarded(grid.world, [&] {
    if (grid.world.rank() != 0) return;
    write_text(directory.path() + "/used.ini", table.print_ini());
    directory.write_table("run", {{"version", kVersion},
                                  {"ranks", grid.world.size()},
                                  {"threads", environment.threads()},
                                  {"device", environment.device().str()},
                                  {"command", line.command},
                                  {"seed", config.run.seed},
                                  {"libraries", versions()}});
  });
  watch_request_file(directory.path() + "/request");
  if (seconds_left > 0) {
    set_time_limit(seconds_left, config.run.walltime_margin_seconds);
    log_info(concat("the job ends in ", std::lround(seconds_left / 60), " min: it will stop with a checkpoint before"));
  }
  prepare_restart(config.run.restart, stages_of(line.command, config), make_stages(config), directory, grid.world);
  const auto plan = plan_stages(line.command, config, table, directory, grid.world);
  const StageContext context{.run = config.run,
                             .model = config.model,
                             .directory = directory,
                             .grid = grid,
                             .device = environment.device(),
                             .parallel = config.parallel};
  try {
    run_stages(plan, config, context);
  } catch (...) {
    const auto [code, message] = describe_error(std::current_exception());
    status.end(code == ExitCode::kStopped ? "stopped" : "failed", message);
    throw;
  }
  status.end("done");
  log_info(
      concat("results: ", directory.path(), line.command == "run" || line.command == "report" ? "/report.html" : ""));
}

}  // namespace

CommandLine CommandLine::parse(const std::vector<std::string>& arguments) {
  CommandLine line;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      line.help = true;
    } else if (argument == "--version") {
      line.version = true;
    } else if (argument == "--validate") {
      line.validate = true;
    } else if (argument == "--print-config") {
      line.print_config = true;
    } else if (argument == "--header") {
      line.header = true;
    } else if (argument == "--dry-run") {
      line.dry_run = true;
    } else if (argument.starts_with("--restart=")) {
      line.settings.push_back("run." + argument.substr(2));
    } else if (argument.starts_with("--") && argument.find('.') != std::string::npos) {
      line.settings.push_back(argument.substr(2));
    } else if (argument.starts_with("-") && argument.size() > 1) {
      const std::string nearest = nearest_name(
          argument, {"--help", "--version", "--validate", "--print-config", "--header", "--dry-run", "--restart="});
      fail_input(concat("command line: unknown flag ", argument), "it would have no effect",
                 nearest.empty() ? "options are --section.key=value, flags stand in rluf --help"
                                 : concat("did you mean ", nearest, "?"));
    } else if (line.command.empty()) {
      line.command = argument;
    } else if (argument.ends_with(".ini")) {
      line.ini_files.push_back(argument);
    } else {
      line.operands.push_back(argument);
    }
  }
  const auto& names = command_names();
  if (!line.command.empty() && std::find(names.begin(), names.end(), line.command) == names.end()) {
    const std::string nearest = nearest_name(line.command, names);
    fail_input(concat("unknown command ", line.command), "rluf does not know what to do",
               nearest.empty() ? "see rluf --help" : concat("did you mean ", nearest, "?"));
  }
  if (line.header && line.command != "plan")
    fail_input("--header goes with plan only", "it would have no effect", "leave it out");
  if (line.dry_run && (line.command != "run" || line.validate))
    fail_input("--dry-run goes with run only, and without --validate", "it would have no effect", "leave it out");
  if (!takes_operands(line.command) && !line.operands.empty())
    fail_input(concat("command line: ", line.operands[0], " is neither an input file (*.ini) nor an option"),
               "it would have no effect", "options are --section.key=value");
  return line;
}

std::optional<int> run_without_mpi(const std::vector<std::string>& arguments) {
  const bool is_dry = std::find(arguments.begin(), arguments.end(), "--dry-run") != arguments.end();
  if (arguments.empty() || !(is_dry || needs_no_mpi(arguments[0]))) return std::nullopt;
  try {
    const CommandLine line = CommandLine::parse(arguments);
    if (line.help) {
      std::cout << help_text(line.command);
    } else if (is_plan(line.command) || line.dry_run) {
      run_plan(line);
    } else if (line.command == "status") {
      tool_status(line.operands);
    } else if (line.command == "summary") {
      tool_summary(line.operands);
    } else {
      tool_request(line.operands);
    }
    return 0;
  } catch (...) {
    const auto [code, message] = describe_error(std::current_exception());
    log_error(message);
    return static_cast<int>(code);
  }
}

int run_command(Environment& environment, const std::vector<std::string>& arguments) {
  try {
    const CommandLine line = CommandLine::parse(arguments);
    if (line.version) {
      if (environment.rank() == 0) std::cout << versions();
    } else if (line.help || line.command.empty()) {
      if (environment.rank() == 0) std::cout << help_text(line.command);
    } else {
      run_with_options(environment, line);
    }
    return 0;
  } catch (...) {
    return environment.report(std::current_exception());
  }
}

}  // namespace rluf
