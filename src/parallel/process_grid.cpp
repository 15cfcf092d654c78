#include "rluf/parallel/process_grid.hpp"

#include "rluf/core/error.hpp"

namespace rluf {

ProcessGrid ProcessGrid::make(std::int64_t shard_size, std::int64_t tensor_size) {
  const Communicator world = Communicator::world();
  const std::int64_t model_size = shard_size * tensor_size;
  if (shard_size < 1 || tensor_size < 1 || world.size() % model_size != 0)
    fail_input(concat("parallel.shard x parallel.tensor = ", shard_size, " x ", tensor_size, " does not divide ",
                      world.size(), " ranks"),
               "every rank needs a place in the grid", "start a multiple of their product");
  const int tensor = static_cast<int>(tensor_size), model = static_cast<int>(model_size), rank = world.rank();
  // The tensor axis is innermost: its neighbours are neighbours in the machine.
  return ProcessGrid{.world = world,
                     .data = world.split(rank % model, rank),
                     .shard = world.split(rank / model * tensor + rank % tensor, rank),
                     .tensor = world.split(rank / tensor, rank)};
}

std::string ProcessGrid::picture() const {
  std::string text =
      concat(world.size(), " ranks = data ", data.size(), " x shard ", shard.size(), " x tensor ", tensor.size());
  constexpr int kMostRows = 8;
  const int row_size = shard.size() * tensor.size();
  for (int row = 0; row < std::min(data.size(), kMostRows); ++row) {
    text += concat("\n  data ", row, ": rank ", row * row_size);
    if (row_size > 1) text += concat(" .. ", (row + 1) * row_size - 1);
  }
  if (data.size() > kMostRows) text += concat("\n  ... ", data.size() - kMostRows, " more");
  return text;
}

Range shard_range(std::int64_t n, int size, int rank) {
  const std::int64_t base = n / size, extra = n % size, r = rank;
  const std::int64_t first = r * base + std::min(r, extra);
  return {first, first + base + (r < extra ? 1 : 0)};
}

}  // namespace rluf
