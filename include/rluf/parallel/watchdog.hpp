#pragma once
#include <memory>

namespace rluf {

/// A thread that turns a hang into a message: without a progress mark (core/log.hpp) for `limit_seconds` it names rank,
/// stage and step and aborts all ranks. 0 switches it off.
class Watchdog {
 public:
  explicit Watchdog(double limit_seconds);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rluf
