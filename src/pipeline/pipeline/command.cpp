#include "rluf/pipeline/pipeline/command.hpp"

#include <algorithm>
#include <iostream>
#include <set>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/parallel/stop_signal.hpp"
#include "rluf/parallel/watchdog.hpp"
#include "rluf/pipeline/pipeline/run_config.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"

namespace rluf {
namespace {

using Json = nlohmann::json;

constexpr const char* kVersion = "0.1.0";

/// Options that change how a run goes on but not what comes out.
bool is_operational(const std::string& key) {
  static const std::set<std::string> keys{"checkpoint_every_steps", "checkpoint_every_rounds", "log_every_steps"};
  return keys.contains(key);
}

/// What a stage's result depends on: its own options and those of all earlier stages.
Json identity_of(const OptionTable& table, const std::vector<std::string>& sections, const RunConfig& config) {
  Json identity{{"run.seed", config.run.seed}};
  for (const OptionTable::Entry& entry : table.entries())
    if (std::find(sections.begin(), sections.end(), entry.section) != sections.end() && !is_operational(entry.key))
      identity[entry.name()] = OptionTable::value_text(entry);
  return identity;
}

void report_memory(const std::string& stage, const Communicator& world) {
  const auto peaks = world.all_gather(std::vector<std::int64_t>{peak_memory_bytes() >> 20});
  std::string text;
  for (std::size_t rank = 0; rank < std::min<std::size_t>(8, peaks.size()); ++rank)
    text += concat(rank ? ", " : "", peaks[rank]);
  log_info(concat(stage, ": done; peak memory per rank (MiB): ", text, peaks.size() > 8 ? ", ..." : ""));
}

/// `wanted`: "run" for all stages, else the one stage.
void run_stages(const std::string& wanted, const RunConfig& config, const OptionTable& table,
                const StageContext& context) {
  std::vector<std::string> sections;
  for (const Stage& stage : make_stages(config)) {
    sections.insert(sections.end(), stage.sections.begin(), stage.sections.end());
    if (wanted != "run" && wanted != stage.name) continue;
    const Json identity = identity_of(table, sections, config);
    if (wanted == "run" && stage.name != "report" && context.directory.is_done(stage.name, identity)) {
      log_info(concat(stage.name, ": done before, skipped"));
      continue;
    }
    log_info(concat("== ", stage.name, ": ", stage.text));
    const double start = now_seconds();
    set_progress_mark(stage.name, 0);
    stage.run(context);
    context.grid.world.barrier();
    context.directory.append_metrics(stage.name, 0, {{"stage_seconds", now_seconds() - start}});
    report_memory(stage.name, context.grid.world);
    if (stage.name != "reward" || config.reward.objective == "all") context.directory.mark_done(stage.name, identity);
  }
}

void run_with_options(Environment& environment, const CommandLine& line) {
  RunConfig config;
  OptionTable table = config.table();
  table.read(line.ini_files, line.settings);
  if (line.command == "simulate") config.run.simulate = true;
  if (line.command == "options") {
    if (environment.rank() == 0) std::cout << table.print_markdown();
    return;
  }
  if (line.print_config) {
    if (environment.rank() == 0) std::cout << table.print_ini();
    return;
  }
  config.complete();
  if (line.command == "tokenize" || line.command == "inspect") {
    if (environment.rank() == 0)
      line.command == "tokenize" ? tool_tokenize(line.operands) : tool_inspect(line.operands);
    return;
  }
  environment.configure(config.run.threads, config.run.device);
  const ProcessGrid grid = ProcessGrid::make(config.parallel.shard, config.parallel.tensor);
  install_stop_handler();
  const Watchdog watchdog(config.run.watchdog_seconds);
  if (line.command == "score") return tool_score(config, line.operands, grid, environment.device());
  if (line.command == "generate") return tool_generate(config, line.operands, grid, environment.device());
  if (line.command == "export") return tool_export(config, line.operands, grid);

  const RunDirectory directory(config.run.directory, grid.world);
  if (line.validate) return validate_inputs(config, grid);
  set_log_file(directory.path() + "/log.txt");
  log_info(concat("rluf ", kVersion, " ", line.command, ", ", grid.picture(), ", ", environment.threads(),
                  " threads a rank, device ", environment.device().str()));
  guarded(grid.world, [&] {
    if (grid.world.rank() != 0) return;
    write_text(directory.path() + "/used.ini", table.print_ini());
    directory.write_table("run", {{"version", kVersion},
                                  {"ranks", grid.world.size()},
                                  {"threads", environment.threads()},
                                  {"device", environment.device().str()},
                                  {"command", line.command},
                                  {"seed", config.run.seed},
                                  {"libraries", Environment::versions()}});
  });
  const StageContext context{
      .run = config.run, .model = config.model, .directory = directory, .grid = grid, .device = environment.device()};
  run_stages(line.command, config, table, context);
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
    } else if (argument.starts_with("--") && argument.find('.') != std::string::npos) {
      line.settings.push_back(argument.substr(2));
    } else if (argument.starts_with("-") && argument.size() > 1) {
      const std::string nearest = nearest_name(argument, {"--help", "--version", "--validate", "--print-config"});
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
  const bool takes_operands =
      std::set<std::string>{"tokenize", "score", "generate", "export", "inspect"}.contains(line.command);
  if (!takes_operands && !line.operands.empty())
    fail_input(concat("command line: ", line.operands[0], " is neither an input file (*.ini) nor an option"),
               "it would have no effect", "options are --section.key=value");
  return line;
}

int run_command(Environment& environment, const std::vector<std::string>& arguments) {
  try {
    const CommandLine line = CommandLine::parse(arguments);
    if (line.version) {
      if (environment.rank() == 0) std::cout << "rluf      " << kVersion << '\n' << Environment::versions();
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
