#pragma once
/// Who holds which block of the key/value cache, and what full blocks hold. Bookkeeping only: no tensors, no devices.
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace rluf {

/// A prefix of tokens that fills whole blocks, by a number of this pool; 0 is the empty one.
using Prefix = std::int64_t;

class BlockPool {
 public:
  explicit BlockPool(std::int64_t num_blocks);

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::int64_t num_free() const { return static_cast<std::int64_t>(free_.size()); }
  bool is_free(std::int32_t block) const { return at(block).num_holders == 0; }
  bool is_shared(std::int32_t block) const { return at(block).num_holders > 1; }

  /// The block that has been free for longest, with one holder; what it held is forgotten. One must be free.
  std::int32_t take();
  /// One holder more; the block may be free, if it was found by what it holds.
  void hold(std::int32_t block);
  /// One holder less; without holders it is free, and still found by what it holds until it is taken.
  void release(std::int32_t block);

  /// The block with these tokens after that prefix.
  std::optional<std::int32_t> find(Prefix before, std::span<const std::int32_t> tokens) const;
  /// Says what a full block holds. @return the prefix that ends with it; a block that holds what another one does stays
  /// unknown and has the other's prefix
  Prefix remember(std::int32_t block, Prefix before, std::span<const std::int32_t> tokens);
  /// Of a block that find gave.
  Prefix prefix_of(std::int32_t block) const { return at(block).prefix; }

 private:
  using Content = std::pair<Prefix, std::vector<std::int32_t>>;
  struct Block {
    std::int64_t num_holders = 0, free_since = 0;
    Prefix prefix = 0;
    std::map<Content, std::int32_t>::iterator content;  ///< good where prefix is not 0
  };
  Block& at(std::int32_t block) { return blocks_.at(static_cast<std::size_t>(block)); }
  const Block& at(std::int32_t block) const { return blocks_.at(static_cast<std::size_t>(block)); }

  std::vector<Block> blocks_;
  std::set<std::pair<std::int64_t, std::int32_t>> free_;  ///< (since when, block)
  std::map<Content, std::int32_t> by_content_;
  std::int64_t clock_ = 0;
  Prefix last_prefix_ = 0;
};

}  // namespace rluf
