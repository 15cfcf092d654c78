// rluf: one MPI executable from a feedback log to an aligned policy.
#include "rluf/parallel/environment.hpp"
#include "rluf/pipeline/pipeline/command.hpp"

int main(int argc, char** argv) {
  if (const auto code = rluf::run_without_mpi({argv + 1, argv + argc})) return *code;
  rluf::Environment environment(argc, argv);
  return rluf::run_command(environment, {argv + 1, argv + argc});
}
