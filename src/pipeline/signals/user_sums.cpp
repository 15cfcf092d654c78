#include "rluf/pipeline/signals/user_sums.hpp"

#include "rluf/pipeline/signals/user_log.hpp"

namespace rluf {

UserSums::UserSums(std::size_t width) : width_(width), parts_(width * kUserParts, 0.0) {}

std::span<double> UserSums::of(std::uint64_t user) {
  return std::span(parts_).subspan(static_cast<std::size_t>(part_of_user(user)) * width_, width_);
}

std::vector<double> UserSums::total(const Communicator& comm) const {
  std::vector<double> parts = parts_, sums(width_, 0.0);
  comm.all_reduce(parts);  // exact: a part is 0 on all ranks but one
  for (std::size_t i = 0; i < parts.size(); ++i) sums[i % width_] += parts[i];
  return sums;
}

}  // namespace rluf
