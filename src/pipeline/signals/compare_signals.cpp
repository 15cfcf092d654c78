#include "rluf/pipeline/signals/compare_signals.hpp"

#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/pipeline/signals/derived.hpp"
#include "rluf/pipeline/signals/signal_choice.hpp"

namespace rluf {
namespace {

/// What nothing can be concluded from is an error, before anything is counted. @collective
void check_log(const UserLog& log, const std::string& path, const Communicator& comm) {
  if (log.num_logged == 0)
    fail_data(concat(path, ": no field of signals{} holds 0 and 1"), "there is nothing to compare",
              "log what users do with a response, as {\"love\": 0, ...}");
  std::int64_t users = 0;
  for_each_user(std::span<const Interaction>(log.rows), [&](std::span<const Interaction>) { ++users; });
  if (comm.all_reduce(users) < 2)
    fail_data(path + " holds one user only", "intervals are taken over users", "give a log of several users");
  std::int64_t events = 0;
  for (const Interaction& row : log.rows) events += (row.values & ((std::uint64_t{1} << log.num_logged) - 1)) != 0;
  if (comm.all_reduce(events) == 0)
    fail_data(concat(path, ": every signal is 0 in every row"), "there is nothing to compare", "give more rows");
}

SignalChoice choice_of(const std::vector<SignalEvidence>& evidence, const Recommendation& recommendation) {
  SignalChoice choice{.recommended = recommendation.signal, .reason = recommendation.reason, .reactors = {}};
  for (const SignalEvidence& signal : evidence) {
    if (!signal.is_logged) continue;
    auto& list = choice.reactors[signal.name];
    for (const Reactor& reactor : signal.unambiguous.reactors)
      list[reactor.user] = {reactor.last_kept_time, reactor.last_kept_line};
  }
  return choice;
}

}  // namespace

std::int64_t signals_memory_bytes(const SignalInput& input, const StageContext& context) {
  std::error_code missing;
  const auto bytes = std::filesystem::file_size(input.interactions, missing);
  // Packed logs hold about 400 bytes of gzip a row.
  const std::int64_t rows = missing ? 0 : static_cast<std::int64_t>(bytes) / 400 / context.grid.world.size();
  return 3 * rows * static_cast<std::int64_t>(sizeof(Interaction)) + (std::int64_t{32} << 20);
}

void run_signals(const SignalOptions& options, const SignalInput& input, const StageContext& context) {
  const Communicator& comm = context.grid.world;
  if (input.interactions.empty()) {
    log_info("signals: no data.interactions, nothing to compare");
    return;
  }
  UserLog log = read_user_log(input.interactions, input.max_rows, input.user_key, options.retention, comm);
  check_log(log, input.interactions, comm);
  derive_signals(log);
  const std::vector<std::int64_t> capped =
      options.user_cap > 0 ? cap_events(log, options.user_cap) : std::vector<std::int64_t>{};
  const std::vector<SignalEvidence> evidence = collect_evidence(log, capped, options, comm);
  const std::vector<Judgement> ranking = rank_signals(evidence, options);
  const Recommendation recommendation = recommend(ranking, evidence);
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    write_signal_choice(signal_choice_path(context.directory), choice_of(evidence, recommendation));
    nlohmann::json table = signals_table(log, evidence, ranking, recommendation);
    table["file"] = input.interactions;
    table["retention_field"] = options.retention;
    context.directory.write_table("signals", table);
  });
  log_info(signals_text(log, evidence, ranking, recommendation));
  if (recommendation.has_reservation)
    log_info(concat("warning: signals: ", recommendation.signal,
                    " fails a criterion (see above); it is the best of this log"));
}

}  // namespace rluf
