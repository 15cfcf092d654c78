#include "rluf/parallel/stop_signal.hpp"

#include <csignal>

namespace rluf {
namespace {

volatile std::sig_atomic_t stop_seen = 0;

/// Sets a flag and nothing else: MPI, HDF5 and memory must not be touched here. A second TERM ends the process.
void handle(int signal) {
  stop_seen = 1;
  if (signal == SIGTERM) std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void install_stop_handler() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

bool stop_requested(const Communicator& comm) { return comm.all_reduce(std::int64_t{stop_seen}, Reduce::kMax) != 0; }

}  // namespace rluf
