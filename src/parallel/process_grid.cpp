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
                     .data = world.split(rank % model, rank, "data"),
                     .shard = world.split(rank / model * tensor + rank % tensor, rank, "shard"),
                     .tensor = world.split(rank / tensor, rank, "tensor"),
                     .replicas = world.split(rank % tensor, rank, "replicas")};
}

std::string ProcessGrid::picture() const {
  std::string text =
      concat(world.size(), " ranks = data ", data.size(), " x shard ", shard.size(), " x tensor ", tensor.size());
  constexpr int kMostRows = 8;
  for (int d = 0; d < std::min(data.size(), kMostRows); ++d) {
    text += concat("\n  data ", d, ":");
    for (int s = 0; s < std::min(shard.size(), kMostRows); ++s) {
      const int first = (d * shard.size() + s) * tensor.size();
      text += concat(tensor.size() > 1 ? " [" : " ", first);
      if (tensor.size() > 1) text += concat("..", first + tensor.size() - 1, "]");
    }
    if (shard.size() > kMostRows) text += concat(" ... ", (d + 1) * shard.size() * tensor.size() - 1);
  }
  if (data.size() > kMostRows) text += concat("\n  ... ", data.size() - kMostRows, " more");
  return text + (tensor.size() > 1 ? "\n  [ranks that share each matrix]" : "");
}

bool ProcessGrid::tensor_axis_within_nodes() const {
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(tensor.mpi(), MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int on_node = 0;
  MPI_Comm_size(node, &on_node);
  MPI_Comm_free(&node);
  return world.all_reduce(std::int64_t{on_node == tensor.size()}, Reduce::kMin) == 1;
}

Range shard_range(std::int64_t n, int size, int rank) {
  const std::int64_t base = n / size, extra = n % size, r = rank;
  const std::int64_t first = r * base + std::min(r, extra);
  return {first, first + base + (r < extra ? 1 : 0)};
}

std::vector<Range> shard_ranges(std::int64_t n, int size) {
  std::vector<Range> ranges;
  for (int r = 0; r < size; ++r) ranges.push_back(shard_range(n, size, r));
  return ranges;
}

}  // namespace rluf
