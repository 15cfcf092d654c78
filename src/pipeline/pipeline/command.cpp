#include "rluf/pipeline/pipeline/command.hpp"

#include <algorithm>
#include <iostream>
#include <set>

#include "restart.hpp"
#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/run_control.hpp"
#include "rluf/parallel/watchdog.hpp"
#include "rluf/pipeline/pipeline/run_config.hpp"
#include "rluf/pipeline/pipeline/run_status.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"
#include "run_stages.hpp"
#include "sweep.hpp"

namespace rluf {
namespace {

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

/// The stages of a command: all for "run", else the one of that name.
std::vector<Stage> stages_of(const std::string& command, const RunConfig& config) {
  std::vector<Stage> stages = make_stages(config);
  std::erase_if(stages, [&](const Stage& stage) { return command != "run" && command != stage.name; });
  return stages;
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
  config.check(line.command == "sweep" ? "run" : line.command);
  if (line.validate && (takes_operands(line.command) || line.command == "preflight" || line.command == "plan"))
    fail_input(concat("--validate does not go with ", line.command), "it checks what runs and their stages need",
               "leave it out");
  if (is_plain_tool(line.command)) return run_plain_tool(line, config);
  if (line.command == "sweep") check_sweep(line, config);
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
  if (line.validate) return validate_inputs(config, line.command == "sweep" ? "run" : line.command, grid);
  const Job job{line.command, config, table, grid, environment};
  if (line.command == "sweep") return run_sweep(line, job);

  const RunDirectory directory(config.run.directory, grid.world, config.run.checkpoints, config.run.metrics);
  // Errors in the options of a start that cannot work end it before it touches lock or log.
  const std::vector<Stage> stages = stages_of(line.command, config);
  const auto plan = [&] { return plan_stages(stages, line.command == "run", config, table, directory, grid.world); };
  plan();
  work_on(directory, job, [&](const StageContext& context) {
    prepare_restart(config.run.restart, stages, make_stages(config), directory, grid.world);
    run_stages(plan(), config, context);
  });
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
