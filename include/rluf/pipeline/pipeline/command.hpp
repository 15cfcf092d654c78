#pragma once
/// `rluf COMMAND [FILE.ini ...] [--section.key=value ...]`
#include <optional>
#include <string>
#include <vector>

#include "rluf/config/option_table.hpp"
#include "rluf/parallel/environment.hpp"

namespace rluf {

/// What stands on the command line.
struct CommandLine {
  std::string command;
  std::vector<std::string> ini_files, operands, settings;  ///< settings: "section.key=value"
  bool help = false, version = false, validate = false, print_config = false, header = false, dry_run = false;
  /// @throws Error(kBadInput) for unknown commands and flags, naming the nearest
  static CommandLine parse(const std::vector<std::string>& arguments);
};

/// Runs a command that needs no MPI (status, request, summary, plan); nothing for all others. @return exit code
std::optional<int> run_without_mpi(const std::vector<std::string>& arguments);
/// Runs one command on all ranks. Every error ends here: printed once, the same exit code on all ranks. @collective
int run_command(Environment& environment, const std::vector<std::string>& arguments);

/// Help of a command, or the general one for "".
std::string help_text(const std::string& command);
const std::vector<std::string>& command_names();
/// inputs/README.md: what the folder holds, how to add to it, and every option.
std::string parameter_page(const OptionTable& table);

}  // namespace rluf
