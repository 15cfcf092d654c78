#pragma once
/// Sums of floating-point numbers over all users with the same bits on any number of ranks.
#include <cstdint>
#include <span>
#include <vector>

#include "rluf/parallel/communicator.hpp"

namespace rluf {

/// Users fall into parts by their hash (kUserParts), each part is with one rank, which adds up its users in their
/// order; then the parts are added in their order.
class UserSums {
 public:
  explicit UserSums(std::size_t width);
  /// Where what belongs to this user is added. Users must come in the order of their hashes. @shape [width]
  std::span<double> of(std::uint64_t user);
  /// @shape [width] @collective
  std::vector<double> total(const Communicator& comm) const;

 private:
  std::size_t width_;
  std::vector<double> parts_;
};

}  // namespace rluf
