#pragma once
/// Which tokens of which sequences are computed in the next step of generation, and in which blocks of the key/value
/// cache. No tensors, no devices, no sampling.
///
///     waiting -> running: prompt in chunks -> a token a step -> finished, its blocks are free
///        ^          |
///        +----------+  set back when the cache is full: its tokens stay, its keys and values are computed again
///
/// The oldest sequences run and only the youngest are set back, so each of them ends.
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include "rluf/model/block_pool.hpp"

namespace rluf {

struct SchedulerLimits {
  std::int64_t num_blocks, block_tokens;
  std::int64_t max_running;     ///< sequences at a time; a prompt with more samples runs alone
  std::int64_t prefill_tokens;  ///< tokens of prompts in a step, beside a token of each sequence that draws
};

/// One sequence's part of a step: its tokens first, first + 1, ... are computed. The spans hold until the next plan()
/// or drawn().
struct Run {
  std::int64_t sequence, first;
  std::span<const std::int32_t> tokens;  ///< at least one
  std::span<const std::int32_t> blocks;  ///< of the sequence, up to these tokens at least
  std::vector<std::int64_t> draws;       ///< sequences that go on after the last token; none: the prompt goes on
};

struct BlockCopy {
  std::int32_t from, to;
};

struct StepPlan {
  std::vector<BlockCopy> copies;  ///< in this order, before anything is computed
  std::vector<Run> runs;
};

struct SchedulerCounts {
  std::int64_t num_steps = 0, computed_tokens = 0;
  std::int64_t shared_tokens = 0;  ///< not computed, because a block held them
  std::int64_t times_set_back = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  /// A prompt that num_samples sequences will continue, each of which needs no more blocks at its longest than the
  /// cache has.
  /// @return the first one's number; the others follow it
  std::int64_t add(std::span<const std::int32_t> prompt, std::int64_t num_samples);
  /// Sequences that were added and have not ended, running or waiting.
  std::int64_t num_unfinished() const { return num_unfinished_; }
  /// The next step, which must then be computed. There must be unfinished sequences, each of which has drawn.
  StepPlan plan();
  /// A sequence named in the plan's `draws` has got its next token; `ends`: it was its last.
  void drawn(std::int64_t sequence, std::int32_t token, bool ends);

  const SchedulerCounts& counts() const { return counts_; }
  const BlockPool& pool() const { return pool_; }

 private:
  struct Sequence {
    std::vector<std::int32_t> tokens, blocks;
    std::int64_t num_computed = 0;
    Prefix prefix = 0;               ///< of its full blocks
    std::int64_t num_followers = 0;  ///< samples that begin where its prompt ends
    bool draws = false;              ///< its prompt is computed
    std::int64_t num_left() const { return static_cast<std::int64_t>(tokens.size()) - num_computed; }
  };
  struct Piece {
    std::int64_t sequence, first, count;
    std::vector<std::int64_t> draws;
  };

  bool make_room(std::int64_t number, std::vector<BlockCopy>& copies);
  void set_back(std::int64_t number);
  bool admit_next();
  Piece advance(std::size_t place, std::int64_t count);
  void release_blocks(Sequence& sequence);

  SchedulerLimits limits_;
  BlockPool pool_;
  std::map<std::int64_t, Sequence> sequences_;
  std::vector<std::int64_t> running_;  ///< ascending, all before those that wait
  std::deque<std::int64_t> waiting_;   ///< ascending; a prompt waits as its first sequence
  std::int64_t next_number_ = 0, num_unfinished_ = 0;
  SchedulerCounts counts_;
};

}  // namespace rluf
