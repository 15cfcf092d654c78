#include "rluf/io/loop_checkpoints.hpp"

#include <cstdio>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"

namespace rluf {

LoopCheckpoints::LoopCheckpoints(const RunDirectory& directory, LoopPlan plan, const Communicator& comm)
    : directory_(directory),
      plan_(std::move(plan)),
      comm_(comm),
      writer_(directory.checkpoints(plan_.stage), comm, directory.retention()) {
  plan_.identity = directory.portable(plan_.identity);
  const auto checkpoint = Checkpoint::newest(directory.checkpoints(plan_.stage), comm);
  if (checkpoint) {
    guarded(comm, [&] { check_identity(checkpoint->header(), plan_.identity); });
    guarded(comm, [&] { checkpoint->restore(plan_.describe); });
    first_step_ = saved_step_ = noted_step_ = checkpoint->header().step;
    log_info(concat(plan_.stage, ": continuing from the checkpoint at ", plan_.unit, " ", first_step_));
  }
  directory.cut_metrics(plan_.stage, first_step_);
  if (!checkpoint || first_step_ >= plan_.num_steps) return;
  guarded(comm, [&] {
    const std::int64_t moved = supersede_log(checkpoint->header().about.value("log_bytes", std::int64_t{1} << 60));
    if (moved > 0) log_info(concat(plan_.stage, ": ", moved, " bytes of the log are done again: log.txt.superseded"));
  });
}

void LoopCheckpoints::begin(std::int64_t step) {
  if (saved_step_ == step) return;
  writer_.begin({plan_.stage, step, plan_.identity, {{"log_bytes", log_bytes()}}}, plan_.describe);
  saved_step_ = step;
  if (!directory_.retention().background) complete();
}

void LoopCheckpoints::complete() {
  writer_.wait();
  note_complete();
}

void LoopCheckpoints::note_complete() {
  const CheckpointWriter::Figures& figures = writer_.figures();
  if (figures.step == noted_step_ || figures.step < 0) return;
  noted_step_ = figures.step;
  note_checkpoint_seconds(figures.seconds);
  char text[160];
  std::snprintf(text, sizeof text,
                ": checkpoint at %s %ld complete, %.1f MiB in %.2f s, of which training waited %.2f s",
                plan_.unit.c_str(), static_cast<long>(figures.step), static_cast<double>(figures.num_bytes) / (1 << 20),
                figures.seconds, figures.standstill_seconds);
  log_info(plan_.stage + text);
}

void LoopCheckpoints::after_step(std::int64_t step) {
  writer_.poll();
  note_complete();
  const Request request = requested(comm_);
  if (request == Request::kStop) {
    const double start = now_seconds();
    begin(step);
    complete();
    char seconds[32];
    std::snprintf(seconds, sizeof seconds, "%.2f", now_seconds() - start);
    throw Error(ExitCode::kStopped,
                concat("stopped by ", request_origin(), ", in stage ", plan_.stage, " at ", plan_.unit, " ", step,
                       " (a checkpoint was written in ", seconds, " s): run the same command again to continue"));
  }
  if (request == Request::kCheckpoint) {
    log_info(concat(plan_.stage, ": checkpoint asked for by ", request_origin(), ", at ", plan_.unit, " ", step));
    begin(step);
  } else if (plan_.checkpoint_every > 0 && step % plan_.checkpoint_every == 0) {
    begin(step);
  }
}

void LoopCheckpoints::finish(std::int64_t step) {
  begin(step);
  complete();
}

void LoopCheckpoints::interruptible(std::int64_t step, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kStopped) throw;
    begin(step);
    complete();
    throw Error(ExitCode::kStopped,
                concat(error.what(), "; ", plan_.stage, " continues after ", plan_.unit, " ", step));
  }
}

}  // namespace rluf
