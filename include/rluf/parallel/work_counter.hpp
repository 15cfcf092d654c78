#pragma once
#include <memory>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Hands out 0, 1, 2, ... among the ranks of a group: each number to one rank, whoever asks first. One rank keeps the
/// count, the others add to it without its help where the network can; elsewhere it answers whenever it asks itself.
class WorkCounter {
 public:
  explicit WorkCounter(const Communicator& comm);  ///< @collective
  ~WorkCounter();                                  ///< @collective
  WorkCounter(const WorkCounter&) = delete;
  WorkCounter& operator=(const WorkCounter&) = delete;

  std::int64_t next();            ///< beyond all work once the counter is closed. Not collective.
  void close();                   ///< ends the hand-out for all ranks. Not collective.
  bool is_closed();               ///< Not collective.
  std::int64_t num_handed_out();  ///< so far, to all ranks together. Not collective.

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rluf
