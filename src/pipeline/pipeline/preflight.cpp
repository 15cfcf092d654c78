// rluf preflight: whether this allocation can carry a run, one line and one verdict for each thing that can be wrong.
#include <ATen/ATen.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/hdf5_file.hpp"
#include "rluf/pipeline/pipeline/tools.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMessageBytes = std::int64_t{64} << 20;  ///< of the all-reduce
constexpr std::int64_t kFileBytes = std::int64_t{64} << 20;     ///< that each rank writes
constexpr int kRepetitions = 5;

/// Prints a line a check on rank 0 and counts what is wrong.
class Verdicts {
 public:
  explicit Verdicts(const Communicator& world) : world_(world) {}
  void say(const char* verdict, const std::string& what, const std::string& found) {
    num_failed_ += std::string(verdict) == "FAIL";
    if (world_.rank() != 0) return;
    char line[512];
    std::snprintf(line, sizeof line, "%-5s %-27s %s", verdict, what.c_str(), found.c_str());
    std::cout << line << '\n' << std::flush;
  }
  int num_failed() const { return num_failed_; }

 private:
  const Communicator& world_;
  int num_failed_ = 0;
};

std::string number(double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, "%.3g %s", value, unit);
  return text;
}

/// Ranks of each host, in the order of the first rank.
std::map<std::string, int> ranks_of_hosts(const Communicator& world) {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  std::map<std::string, int> ranks;
  for (const std::string& host : world.all_gather(std::string(name))) ++ranks[host];
  return ranks;
}

void check_ranks(const Communicator& world, const Environment& environment, Verdicts& verdicts) {
  const auto hosts = ranks_of_hosts(world);
  int fewest = world.size(), most = 0;
  for (const auto& [host, count] : hosts) {
    fewest = std::min(fewest, count);
    most = std::max(most, count);
  }
  verdicts.say(fewest == most ? "ok" : "WARN", "ranks",
               concat(world.size(), " on ", hosts.size(), hosts.size() == 1 ? " host, " : " hosts, ",
                      fewest == most ? concat(most, " each") : concat(fewest, " to ", most, " a host")));
  const std::int64_t cores = static_cast<std::int64_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  const std::int64_t wanted = std::int64_t{environment.threads()} * environment.ranks_on_node();
  const bool too_many = world.all_reduce(std::int64_t{wanted > cores}, Reduce::kMax) > 0;
  verdicts.say(too_many ? "WARN" : "ok", "threads",
               concat(environment.threads(), " a rank, ", wanted, " on the ", cores, " cores of rank 0's host",
                      too_many ? ": some cores are shared" : ""));
  const bool multiple = world.all_reduce(std::int64_t{environment.has_thread_multiple()}, Reduce::kMin) == 1;
  verdicts.say("ok", "MPI threads", multiple ? "THREAD_MULTIPLE" : "less than THREAD_MULTIPLE (rluf does not need it)");
}

void check_devices(const Communicator& world, const Environment& environment, Verdicts& verdicts) {
  // Environment::configure has made sure that each rank has a GPU of its own, or that none has one.
  const bool on_gpu = environment.device().is_cuda();
  verdicts.say("ok", "devices", on_gpu ? concat(world.size(), " GPUs, one a rank") : "no GPU: the run is on the CPU");
}

/// Best of some repetitions, the slowest rank's. `call` starts with a barrier behind it.
double best_seconds(const Communicator& world, const std::function<void()>& call) {
  call();  // connections are made in the first one
  double best = 1e9;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    world.barrier();
    const double start = now_seconds();
    call();
    best = std::min(best, world.all_reduce(now_seconds() - start, Reduce::kMax));
  }
  return best;
}

/// The three collectives of training on one axis, in all of its groups at once. Bus bandwidth is that of nccl-tests:
/// what the slowest link must carry, whatever the number of ranks. @source nccl-tests, doc/PERFORMANCE.md
void check_axis(const std::string& name, const Communicator& axis, const ProcessGrid& grid, at::Device device,
                Verdicts& verdicts) {
  const int n = axis.size();
  const std::int64_t part = kMessageBytes / 4 / n;
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(n), part);
  const auto of = at::TensorOptions(at::kFloat).device(device);
  at::Tensor whole = at::ones({part * n}, of), gathered, scattered;
  const at::Tensor mine = at::full({part}, axis.rank(), of);
  const auto wait = [](const at::Tensor& result) { return result[0].item<double>(); };  // for the device
  const auto line = [&](const char* collective, double share, double seconds, bool right) {
    const bool all_right = grid.world.all_reduce(std::int64_t{right}, Reduce::kMin) == 1;
    const double bytes = static_cast<double>(part * n * 4);
    verdicts.say(all_right ? "ok" : "FAIL", concat(collective, ", ", name),
                 all_right
                     ? concat(number(bytes / (1 << 20), "MiB"), " over ", n, " ranks in ", number(seconds * 1e3, "ms"),
                              ", bus bandwidth ", number(share * bytes / seconds * 1e-9, "GB/s"))
                     : concat("gives wrong numbers over ", n, " ranks"));
  };
  const double others = static_cast<double>(n - 1) / n;
  double seconds = best_seconds(grid.world, [&] {
    whole.fill_(1);
    axis.all_reduce(whole);
    wait(whole);
  });
  line("all-reduce", 2 * others, seconds, whole.eq(n).all().item<bool>());
  seconds = best_seconds(grid.world, [&] {
    gathered = axis.all_gather(mine, counts);
    wait(gathered);
  });
  line("all-gather", others, seconds,
       gathered.view({n, part}).select(1, part - 1).cpu().equal(at::arange(n, at::kFloat)));
  whole.fill_(1);
  seconds = best_seconds(grid.world, [&] {
    scattered = axis.reduce_scatter(whole, counts);
    wait(scattered);
  });
  line("reduce-scatter", others, seconds, scattered.eq(n).all().item<bool>());
}

void check_tensor_axis(const ProcessGrid& grid, Verdicts& verdicts) {
  if (grid.tensor.size() == 1) return;
  const bool inside = grid.tensor_axis_within_nodes();
  verdicts.say(inside ? "ok" : "WARN", "tensor axis",
               inside ? "inside of a node"
                      : "crosses nodes: four sums a layer wait for the network; use a smaller parallel.tensor and a "
                        "larger parallel.shard");
}

std::string file_system(const std::string& folder) {
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) != 0) return "unknown";
  static const std::map<long, const char*> names{{0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},   {0x6969, "NFS"},
                                                 {0xEF53, "ext4"},       {0x58465342, "XFS"},    {0x01021994, "tmpfs"},
                                                 {0x19830326, "BeeGFS"}, {0x794C7630, "overlay"}};
  const auto found = names.find(static_cast<long>(info.f_type) & 0xFFFFFFFF);
  return found == names.end() ? concat("type ", info.f_type) : found->second;
}

void check_files(const std::string& folder, const Communicator& world, Verdicts& verdicts) {
  const std::string kind = file_system(folder);
  const bool same = [&] {
    const std::string mine = concat(kind, fs::space(folder).capacity);
    const auto all = world.all_gather(mine);
    return std::all_of(all.begin(), all.end(), [&](const std::string& other) { return other == all[0]; });
  }();
  verdicts.say(
      same ? "ok" : "FAIL", "file system",
      concat(folder, " is on ", kind, same ? "" : ", but not the same for all ranks: it must be shared",
             kind == "NFS" ? "; parallel writes are slow here, a parallel file system is better" : "",
             kind == "Lustre" ? "; stripe it over several targets for large checkpoints (lfs setstripe -c 8)" : ""));
  const double free_gib = static_cast<double>(fs::space(folder).available) / (1 << 30);
  verdicts.say(free_gib < 10 ? "WARN" : "ok", "free space", number(free_gib, "GiB"));

  const std::string path = folder + "/.preflight.h5";
  const std::int64_t rows = kFileBytes / 4;
  const at::Tensor mine = at::full({rows}, world.rank(), at::kFloat);
  world.barrier();
  double start = now_seconds();
  {
    Hdf5File file = Hdf5File::create(path, world);
    file.create_dataset("x", at::kFloat, {rows * world.size()});
    file.write_rows("x", rows * world.rank(), mine);
    file.commit();
  }
  const double bytes = static_cast<double>(kFileBytes) * world.size() * 1e-9;
  verdicts.say("ok", "HDF5 write",
               concat(number(bytes / (now_seconds() - start), "GB/s"), ", ", world.size(), " x 64 MiB, synced"));
  world.barrier();
  start = now_seconds();
  bool right = false;
  {
    // What another rank wrote, so that no rank reads from its own cache.
    const int other = (world.rank() + world.size() / 2) % world.size();
    const Hdf5File file = Hdf5File::open(path, world);
    const at::Tensor read = file.read_rows("x", rows * other, rows * (other + 1));
    right = read.eq(static_cast<float>(other)).all().item<bool>();
  }
  right = world.all_reduce(std::int64_t{right}, Reduce::kMin) == 1;
  verdicts.say(right ? "ok" : "FAIL", "HDF5 read",
               right ? concat(number(bytes / (now_seconds() - start), "GB/s"), ", each rank what another wrote")
                     : "a rank does not see what another wrote");
  if (world.rank() == 0) fs::remove(path);
}

}  // namespace

void tool_preflight(const RunConfig& config, const ProcessGrid& grid, const Environment& environment) {
  Verdicts verdicts(grid.world);
  const std::string folder = config.run.directory;
  guarded(grid.world, [&] {
    if (grid.world.rank() == 0) fs::create_directories(folder);
  });
  check_ranks(grid.world, environment, verdicts);
  check_devices(grid.world, environment, verdicts);
  check_tensor_axis(grid, verdicts);
  check_axis("all ranks", grid.world, grid, environment.device(), verdicts);
  for (const auto& [name, axis] :
       {std::pair{"data axis", grid.data}, {"shard axis", grid.shard}, {"tensor axis", grid.tensor}})
    if (axis.size() > 1 && axis.size() < grid.world.size())
      check_axis(name, axis, grid, environment.device(), verdicts);
  check_files(folder, grid.world, verdicts);
  verdicts.say(
      verdicts.num_failed() > 0 ? "FAIL" : "ok", "verdict",
      verdicts.num_failed() > 0 ? concat(verdicts.num_failed(), " checks failed") : "this allocation can carry a run");
  if (verdicts.num_failed() > 0)
    fail_input(concat(verdicts.num_failed(), " checks of the allocation failed"), "a run here would fail or hang",
               "see the lines marked FAIL");
}

}  // namespace rluf
