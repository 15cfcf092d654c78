#include "rluf/pipeline/plan/dry_run.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "dry_walk.hpp"
#include "rluf/core/error.hpp"
#include "rluf/pipeline/plan/meta_memory.hpp"

namespace rluf {
namespace {

/// @return tensors seen
std::int64_t check_cover(std::vector<Slab> slabs) {
  std::sort(slabs.begin(), slabs.end());
  std::int64_t num_tensors = 0, next = 0;
  const auto fail = [](const std::string& tensor, std::int64_t row) {
    fail_input(concat(tensor, ": row ", row, " is written by no rank, or by two"),
               "a checkpoint would lose or mix numbers", "this is an error of the program: please report the grid");
  };
  for (std::size_t i = 0; i < slabs.size(); ++i) {
    const bool begins = i == 0 || slabs[i].tensor != slabs[i - 1].tensor;
    if (begins) {
      ++num_tensors;
      next = 0;
    }
    if (slabs[i].rows.first != next) fail(slabs[i].tensor, std::min(next, slabs[i].rows.first));
    next = slabs[i].rows.last;
    if ((i + 1 == slabs.size() || slabs[i + 1].tensor != slabs[i].tensor) && next != slabs[i].num_rows)
      fail(slabs[i].tensor, next);
  }
  return num_tensors;
}

std::string text_of(const CollectiveLog& log, std::size_t place) {
  if (place >= log.size()) return "its end";
  return concat(log[place].collective, " of ", log[place].bytes, " bytes in group ", log[place].group, ", its call ",
                place + 1);
}

}  // namespace

void match_calls(const std::vector<std::vector<int>>& groups, const std::vector<CollectiveLog>& logs) {
  std::vector<std::size_t> places(logs.size(), 0);
  std::vector<std::size_t> waiting(groups.size(), 0);  // ranks that have come to their group's next call
  std::vector<int> ready;
  const auto arrive = [&](int rank) {
    const auto r = static_cast<std::size_t>(rank);
    if (places[r] == logs[r].size()) return;
    const auto group = static_cast<std::size_t>(logs[r][places[r]].group);
    if (++waiting[group] == groups[group].size()) ready.push_back(static_cast<int>(group));
  };
  for (std::size_t rank = 0; rank < logs.size(); ++rank) arrive(static_cast<int>(rank));
  while (!ready.empty()) {
    const auto group = static_cast<std::size_t>(ready.back());
    ready.pop_back();
    waiting[group] = 0;
    const auto first = static_cast<std::size_t>(groups[group].front());
    for (const int rank : groups[group]) {
      const auto r = static_cast<std::size_t>(rank);
      if (logs[r][places[r]] != logs[first][places[first]])
        fail_input(concat("rank ", first, " calls ", text_of(logs[first], places[first]), ", rank ", rank, " ",
                          text_of(logs[r], places[r])),
                   "they would wait for each other for ever",
                   "this is an error of the program: please report the grid");
    }
    for (const int rank : groups[group]) ++places[static_cast<std::size_t>(rank)];
    for (const int rank : groups[group]) arrive(rank);
  }
  for (std::size_t r = 0; r < logs.size(); ++r) {
    if (places[r] == logs[r].size()) continue;
    const auto group = static_cast<std::size_t>(logs[r][places[r]].group);
    for (const int other : groups[group]) {
      const auto o = static_cast<std::size_t>(other);
      if (places[o] < logs[o].size() && logs[o][places[o]].group == logs[r][places[r]].group) continue;
      fail_input(concat("rank ", r, " waits in ", text_of(logs[r], places[r]), " for rank ", other, ", which is at ",
                        text_of(logs[o], places[o])),
                 "the run would hang", "this is an error of the program: please report the grid");
    }
  }
}

DryRun dry_run(const PlanInput& input, const ParallelOptions& parallel) {
  const auto num_ranks = static_cast<int>(input.options.ranks);
  if (parallel.shard * parallel.tensor > num_ranks || num_ranks % (parallel.shard * parallel.tensor) != 0)
    fail_input(concat("parallel.shard x parallel.tensor = ", parallel.shard, " x ", parallel.tensor,
                      " does not divide plan.ranks = ", num_ranks),
               "every rank needs a place in the grid", "choose divisors");
  const MetaMemory counting(!input.machine.on_host);
  const Groups groups(num_ranks, parallel);
  std::vector<CollectiveLog> logs(static_cast<std::size_t>(num_ranks));
  std::vector<std::vector<std::pair<std::string, std::int64_t>>> peaks(logs.size());
  std::vector<std::vector<Slab>> slabs(logs.size());
  DryRun result;
  std::atomic<int> next = 0;
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int rank = next++; rank < num_ranks; rank = next++) {
        Walked walked = walk(input, parallel, groups, rank);
        const auto r = static_cast<std::size_t>(rank);
        logs[r] = std::move(walked.log);
        peaks[r] = std::move(walked.peaks);
        slabs[r] = std::move(walked.slabs);
        if (rank == 0) result.traffic = std::move(walked.traffic);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
      next = num_ranks;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::max(1u, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);

  match_calls(groups.members, logs);
  std::vector<Slab> all;
  for (const auto& of_rank : slabs) all.insert(all.end(), of_rank.begin(), of_rank.end());
  result.num_tensors = check_cover(std::move(all));
  for (std::size_t s = 0; s < peaks[0].size(); ++s) {
    DryStage stage{peaks[0][s].first, peaks[0][s].second, 0, 0};
    for (std::size_t r = 0; r < peaks.size(); ++r) {
      stage.fewest_bytes = std::min(stage.fewest_bytes, peaks[r][s].second);
      if (peaks[r][s].second > stage.most_bytes) {
        stage.most_bytes = peaks[r][s].second;
        stage.fullest_rank = static_cast<int>(r);
      }
    }
    result.stages.push_back(stage);
  }
  for (const CollectiveLog& log : logs) result.num_calls += std::ssize(log);
  return result;
}

}  // namespace rluf
