#include "rluf/model/scheduler.hpp"

#include <algorithm>

#include "rluf/core/error.hpp"

namespace rluf {

Scheduler::Scheduler(const SchedulerLimits& limits) : limits_(limits), pool_(limits.num_blocks) {
  RLUF_ASSERT(limits.block_tokens > 0 && limits.max_running > 0 && limits.prefill_tokens > 0);
}

std::int64_t Scheduler::add(std::span<const std::int32_t> prompt, std::int64_t num_samples) {
  RLUF_ASSERT(!prompt.empty() && num_samples > 0);
  const std::int64_t first = next_number_;
  Sequence& sequence = sequences_[first];
  sequence.tokens.assign(prompt.begin(), prompt.end());
  sequence.num_followers = num_samples - 1;
  waiting_.push_back(first);
  next_number_ += num_samples;
  num_unfinished_ += num_samples;
  return first;
}

StepPlan Scheduler::plan() {
  StepPlan plan;
  std::vector<Piece> pieces;
  std::int64_t room = limits_.prefill_tokens;
  const std::int64_t before = counts_.times_set_back;
  for (std::size_t place = 0; place < running_.size(); ++place) {
    Sequence& sequence = sequences_.at(running_[place]);
    const std::int64_t count = sequence.draws ? sequence.num_left() : std::min(sequence.num_left(), room);
    if (count == 0) continue;  // it begins with this step, or others' prompts came first
    if (!make_room(running_[place], plan.copies)) break;
    if (!sequence.draws) room -= count;
    pieces.push_back(advance(place, count));
  }
  while (room > 0 && counts_.times_set_back == before && admit_next()) {
    const std::int64_t count = std::min(sequences_.at(running_.back()).num_left(), room);
    room -= count;
    pieces.push_back(advance(running_.size() - 1, count));
  }
  RLUF_ASSERT(!pieces.empty());
  for (Piece& piece : pieces) {
    const Sequence& sequence = sequences_.at(piece.sequence);
    const auto first = static_cast<std::size_t>(piece.first), count = static_cast<std::size_t>(piece.count);
    plan.runs.push_back({.sequence = piece.sequence,
                         .first = piece.first,
                         .tokens = std::span(sequence.tokens).subspan(first, count),
                         .blocks = sequence.blocks,
                         .draws = std::move(piece.draws)});
    counts_.computed_tokens += piece.count;
  }
  ++counts_.num_steps;
  return plan;
}

void Scheduler::drawn(std::int64_t number, std::int32_t token, bool ends) {
  Sequence& sequence = sequences_.at(number);
  RLUF_ASSERT(sequence.draws && sequence.num_left() == 0);
  sequence.tokens.push_back(token);
  if (!ends) return;
  release_blocks(sequence);
  std::erase(running_, number);
  sequences_.erase(number);
  --num_unfinished_;
}

/// A block of its own for the next token of a running sequence. A prompt has its blocks from the start.
/// @return whether there is one; else the sequence itself was the youngest and has been set back
bool Scheduler::make_room(std::int64_t number, std::vector<BlockCopy>& copies) {
  Sequence& sequence = sequences_.at(number);
  const auto place = static_cast<std::size_t>(sequence.num_computed / limits_.block_tokens);
  const bool at_end = place == sequence.blocks.size();
  const auto needs_block = [&] { return at_end || pool_.is_shared(sequence.blocks[place]); };
  while (needs_block() && pool_.num_free() == 0) {
    const std::int64_t youngest = running_.back();
    set_back(youngest);
    if (youngest == number) return false;
  }
  if (at_end) {
    sequence.blocks.push_back(pool_.take());
  } else if (needs_block()) {
    copies.push_back({sequence.blocks[place], pool_.take()});
    pool_.release(copies.back().from);
    sequence.blocks[place] = copies.back().to;
  }
  return true;
}

void Scheduler::set_back(std::int64_t number) {
  Sequence& sequence = sequences_.at(number);
  release_blocks(sequence);
  sequence.num_computed = 0;
  sequence.prefix = 0;
  sequence.draws = false;
  running_.pop_back();
  waiting_.push_front(number);
  ++counts_.times_set_back;
}

/// Takes the first waiting sequence in, with all blocks of its tokens, if there is room for it and for a block more of
/// each running one: it would soon be set back otherwise.
bool Scheduler::admit_next() {
  if (waiting_.empty()) return false;
  Sequence& sequence = sequences_.at(waiting_.front());
  std::int64_t num_running = 0;
  for (const std::int64_t number : running_) num_running += 1 + sequences_.at(number).num_followers;
  const std::int64_t B = limits_.block_tokens, length = static_cast<std::int64_t>(sequence.tokens.size());
  if (num_running > 0 && num_running + 1 + sequence.num_followers > limits_.max_running) return false;

  std::vector<std::int32_t> found;  // full blocks of its beginning; the last token is always computed
  Prefix prefix = 0;
  std::int64_t num_found_free = 0;
  for (std::int64_t first = 0; first + B < length; first += B) {
    const auto block = pool_.find(
        prefix, std::span(sequence.tokens).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(B)));
    if (!block) break;
    found.push_back(*block);
    prefix = pool_.prefix_of(*block);
    num_found_free += pool_.is_free(*block) ? 1 : 0;
  }
  const std::int64_t num_new = (length + B - 1) / B - static_cast<std::int64_t>(found.size());
  if (num_new + num_running > pool_.num_free() - num_found_free) {
    RLUF_ASSERT(num_running > 0);  // the cache is larger than any sequence
    return false;
  }
  for (const std::int32_t block : found) pool_.hold(block);
  sequence.blocks = std::move(found);
  sequence.num_computed = static_cast<std::int64_t>(sequence.blocks.size()) * B;
  sequence.prefix = prefix;
  counts_.shared_tokens += sequence.num_computed;
  for (std::int64_t b = 0; b < num_new; ++b) sequence.blocks.push_back(pool_.take());
  running_.push_back(waiting_.front());
  waiting_.pop_front();
  return true;
}

/// The next `count` tokens of a running sequence count as computed: its full blocks are known to others, and where its
/// prompt ends its followers begin.
Scheduler::Piece Scheduler::advance(std::size_t place, std::int64_t count) {
  const std::int64_t number = running_[place];
  Sequence& sequence = sequences_.at(number);
  Piece piece{number, sequence.num_computed, count, {}};
  const auto B = static_cast<std::size_t>(limits_.block_tokens);
  std::size_t block = static_cast<std::size_t>(sequence.num_computed) / B;
  sequence.num_computed += count;
  for (; (block + 1) * B <= static_cast<std::size_t>(sequence.num_computed); ++block)
    sequence.prefix =
        pool_.remember(sequence.blocks[block], sequence.prefix, std::span(sequence.tokens).subspan(block * B, B));
  if (sequence.num_left() > 0) return piece;
  sequence.draws = true;
  piece.draws.push_back(number);
  for (std::int64_t k = 1; k <= sequence.num_followers; ++k) {
    for (const std::int32_t held : sequence.blocks) pool_.hold(held);
    Sequence& follower = sequences_[number + k] = sequence;
    follower.num_followers = 0;
    running_.insert(running_.begin() + static_cast<std::ptrdiff_t>(place) + k, number + k);
    piece.draws.push_back(number + k);
  }
  counts_.shared_tokens += sequence.num_followers * sequence.num_computed;
  sequence.num_followers = 0;
  return piece;
}

/// From the end, so that a prefix is found for longest.
void Scheduler::release_blocks(Sequence& sequence) {
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) pool_.release(*block);
  sequence.blocks.clear();
}

}  // namespace rluf
