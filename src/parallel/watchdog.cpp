#include "rluf/parallel/watchdog.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/parallel/environment.hpp"

namespace rluf {

struct Watchdog::Impl {
  double limit_seconds;
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  std::thread thread;

  void watch() {
    const auto interval = std::chrono::duration<double>(std::min(10.0, limit_seconds / 4));
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, interval, [&] { return stop; })) {
      const ProgressMark mark = progress_mark();
      if (mark.age_seconds < limit_seconds) continue;
      log_error(concat("no progress for ", static_cast<long>(mark.age_seconds),
                       " s (a rank hangs, or waits for one that is gone): the job is ended; restart it from its last "
                       "checkpoint, or raise run.watchdog_seconds if a step really takes that long"));
      Environment::abort(1);
    }
  }
};

Watchdog::Watchdog(double limit_seconds) : impl_(std::make_unique<Impl>()) {
  impl_->limit_seconds = limit_seconds;
  if (limit_seconds > 0) impl_->thread = std::thread([this] { impl_->watch(); });
}

Watchdog::~Watchdog() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->wake.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace rluf
