#pragma once
#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// SIGTERM and SIGUSR1 set a flag; nothing else happens in the handler. Not collective.
void install_stop_handler();
/// True on all ranks once any rank has seen the signal. Asked at the end of every step of every long loop. @collective
bool stop_requested(const Communicator& comm);

}  // namespace rluf
