#include "rluf/model/block_pool.hpp"

#include "rluf/core/error.hpp"

namespace rluf {

BlockPool::BlockPool(std::int64_t num_blocks) : blocks_(static_cast<std::size_t>(num_blocks)) {
  for (std::int32_t block = 0; block < num_blocks; ++block) free_.emplace(0, block);
}

std::int32_t BlockPool::take() {
  RLUF_ASSERT(!free_.empty());
  const std::int32_t number = free_.begin()->second;
  Block& block = at(number);
  free_.erase(free_.begin());
  if (block.prefix != 0) by_content_.erase(block.content);
  block.prefix = 0;
  block.num_holders = 1;
  return number;
}

void BlockPool::hold(std::int32_t number) {
  Block& block = at(number);
  RLUF_ASSERT(block.num_holders > 0 || block.prefix != 0);
  if (block.num_holders++ == 0) free_.erase({block.free_since, number});
}

void BlockPool::release(std::int32_t number) {
  Block& block = at(number);
  RLUF_ASSERT(block.num_holders > 0);
  if (--block.num_holders > 0) return;
  block.free_since = block.prefix != 0 ? ++clock_ : 0;  // those that hold nothing of use are taken first
  free_.emplace(block.free_since, number);
}

std::optional<std::int32_t> BlockPool::find(Prefix before, std::span<const std::int32_t> tokens) const {
  const auto found = by_content_.find({before, {tokens.begin(), tokens.end()}});
  return found == by_content_.end() ? std::nullopt : std::optional(found->second);
}

Prefix BlockPool::remember(std::int32_t number, Prefix before, std::span<const std::int32_t> tokens) {
  Block& block = at(number);
  RLUF_ASSERT(block.num_holders > 0 && block.prefix == 0);
  const auto [place, is_new] = by_content_.try_emplace({before, {tokens.begin(), tokens.end()}}, number);
  if (!is_new) return at(place->second).prefix;
  block.content = place;
  block.prefix = ++last_prefix_;
  return block.prefix;
}

}  // namespace rluf
