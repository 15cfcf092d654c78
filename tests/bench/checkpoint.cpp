// checkpoint FOLDER MEBIBYTES: writes a state of that size with CheckpointWriter while a loop of small steps goes on,
// and the same bytes with plain pwrite, alternating. Under mpirun each rank has its share of both.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <Kokkos_Core.hpp>
#include <filesystem>
#include <iostream>

#include "rluf/core/log.hpp"
#include "rluf/io/checkpoint_writer.hpp"
#include "rluf/io/jsonl.hpp"

using namespace rluf;

namespace {

/// Raw writes of the same memory to a file of each rank, synced. @unit seconds, of the slowest rank
double raw_seconds(const std::string& folder, const at::Tensor& mine, const Communicator& world) {
  const std::string path = folder + "/raw_" + std::to_string(world.rank());
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  world.barrier();
  const double start = now_seconds();
  const char* data = static_cast<const char*>(mine.const_data_ptr());
  for (std::size_t done = 0; done < mine.nbytes();)
    done += static_cast<std::size_t>(::pwrite(file, data + done, mine.nbytes() - done, static_cast<off_t>(done)));
  ::fsync(file);
  const double seconds = world.all_reduce(now_seconds() - start, Reduce::kMax);
  ::close(file);
  std::filesystem::remove(path);
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  {
    const Communicator world = Communicator::world();
    set_log_rank(world.rank(), world.size());
    const std::string folder = argv[1];
    constexpr std::int64_t kRows = 1024;
    const std::int64_t columns = std::atoll(argv[2]) * (1 << 20) / 4 / kRows;
    const Range rows = shard_range(kRows, world.size(), world.rank());
    at::set_num_threads(1);
    at::Tensor mine = at::rand({rows.count(), columns});
    CheckpointWriter writer(folder, world, {.keep_last = 1});
    const auto step = [&] {
      usleep(50000);  // leaves the cores to the writer, as a step on a GPU does
      writer.state_will_change();
      mine.narrow(0, 0, 1).add_(1);
      writer.poll();
    };
    for (int repetition = 0; repetition < 6; ++repetition) {
      const double raw = raw_seconds(folder, mine, world);
      writer.begin({"bench", repetition, {}}, [&](StateArchive& archive) {
        archive.rows("state", mine, {kRows, columns}, rows);
      });
      while (writer.figures().step < repetition) step();
      for (int i = 0; i < 10; ++i) step();  // the former file goes meanwhile
      if (world.rank() == 0)
        std::cout << Json{{"raw_seconds", raw},
                          {"seconds", writer.figures().seconds},
                          {"standstill_seconds", writer.figures().standstill_seconds},
                          {"bytes", writer.figures().num_bytes}}
                         .dump()
                  << std::endl;
    }
  }
  MPI_Finalize();
}
