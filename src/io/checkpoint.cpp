#include "rluf/io/checkpoint.hpp"

#include <ATen/ATen.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;
/// Version of the layout, raised with every change of it. 1: first.
constexpr int kFormatVersion = 1;
/// Checksums cover blocks of this many elements, fixed by the tensor alone and not by who wrote it.
constexpr std::int64_t kBlockElements = std::int64_t{1} << 20;

std::uint32_t checksum(const void* data, std::size_t num_bytes, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(crc32_z(before, static_cast<const Bytef*>(data), num_bytes));
}

/// Blocks of a tensor that a rank writes and checks: contiguous, balanced.
Range block_range(std::int64_t numel, const Communicator& comm) {
  return shard_range((numel + kBlockElements - 1) / kBlockElements, comm.size(), comm.rank());
}

/// Checksums of all blocks of a flat CPU tensor; each rank computes its own and all get all. @collective
std::vector<std::int64_t> block_checksums(const at::Tensor& flat, const Communicator& comm) {
  std::vector<std::int64_t> mine;
  const Range blocks = block_range(flat.numel(), comm);
  for (std::int64_t block = blocks.first; block < blocks.last; ++block) {
    const std::int64_t first = block * kBlockElements, last = std::min(flat.numel(), first + kBlockElements);
    mine.push_back(
        checksum(static_cast<const char*>(flat.data_ptr()) + first * static_cast<std::int64_t>(flat.element_size()),
                 static_cast<std::size_t>(last - first) * flat.element_size()));
  }
  return comm.all_gather(mine);
}

std::string file_name(const std::string& folder, std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08ld.h5", static_cast<long>(step));
  return folder + "/" + name;
}

/// Complete checkpoints of a folder, newest first.
std::vector<std::string> list_checkpoints(const std::string& folder) {
  std::vector<std::string> paths;
  if (!fs::exists(folder)) return paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step_") && name.ends_with(".h5")) paths.push_back(entry.path().string());
  }
  std::sort(paths.rbegin(), paths.rend());
  return paths;
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

void write_checkpoint(const std::string& folder, const CheckpointState& state, const Communicator& comm,
                      int keep_last) {
  const std::string path = file_name(folder, state.step);
  std::int64_t num_bytes = 0;
  for (const auto& [name, tensor] : state.tensors) num_bytes += static_cast<std::int64_t>(tensor.nbytes());
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    fs::create_directories(folder);
    const auto space = fs::space(folder);
    if (static_cast<std::int64_t>(space.available) < num_bytes + (1 << 20))
      fail_input(concat("the disk of ", folder, " has ", space.available >> 20, " MiB left, a checkpoint needs ",
                        num_bytes >> 20),
                 "the run could not be continued", "free space; earlier checkpoints are untouched");
  });
  Hdf5File file = Hdf5File::create(path, comm);
  Json manifest{{"format_version", kFormatVersion},
                {"stage", state.stage},
                {"step", state.step},
                {"values", state.values},
                {"written_by", {{"host", host_name()}, {"ranks", comm.size()}}},
                {"block_elements", kBlockElements},
                {"tensors", Json::array()}};
  for (const auto& [name, tensor] : state.tensors) {
    // Flat in memory and row blocks in the file would differ in shape: the file keeps the global shape, so each rank
    // writes whole rows of it and checks whole blocks of the flat elements.
    const at::Tensor host = tensor.detach().to(at::kCPU).contiguous();
    const std::vector<std::int64_t> shape = host.dim() == 0 ? std::vector<std::int64_t>{1} : host.sizes().vec();
    const at::Tensor shaped = host.view(shape);
    file.create_dataset("tensors/" + name, host.scalar_type(), shape);
    const Range rows = shard_range(shape[0], comm.size(), comm.rank());
    file.write_rows("tensors/" + name, rows.first, shaped.narrow(0, rows.first, rows.count()));
    manifest["tensors"].push_back({{"name", name},
                                   {"shape", host.sizes().vec()},
                                   {"type", c10::toString(host.scalar_type())},
                                   {"crc32", block_checksums(host.view(-1), comm)}});
  }
  const std::string text = comm.broadcast(manifest.dump(), 0);
  file.write_attribute("manifest", text);
  file.write_attribute("manifest_crc32", std::to_string(checksum(text.data(), text.size())));
  file.commit();
  guarded(comm, [&] {
    if (comm.rank() != 0) return;
    const auto paths = list_checkpoints(folder);
    for (std::size_t i = static_cast<std::size_t>(std::max(1, keep_last)); i < paths.size(); ++i) fs::remove(paths[i]);
  });
}

Json read_manifest(const Hdf5File& file) {
  if (!file.has("attributes/manifest") || !file.has("attributes/manifest_crc32"))
    fail_data(file.path() + " has no manifest", "it is no checkpoint, or of another program",
              "name a checkpoint of rluf");
  const std::string text = file.read_attribute("manifest");
  if (file.read_attribute("manifest_crc32") != std::to_string(checksum(text.data(), text.size())))
    fail_data(file.path() + ": the manifest's checksum is wrong", "the file is damaged", "use an older checkpoint");
  Json manifest = Json::parse(text, nullptr, false);
  if (manifest.is_discarded() || manifest.value("format_version", 0) != kFormatVersion)
    fail_data(concat(file.path(), " has the format version ",
                     manifest.is_discarded() ? "?" : manifest.value("format_version", Json(0)).dump()),
              concat("this program reads version ", kFormatVersion), "continue with the program that wrote it");
  return manifest;
}

CheckpointState read_checkpoint(const std::string& path, const Communicator& comm) {
  const Hdf5File file = Hdf5File::open(path, comm);
  CheckpointState state;
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected;
  guarded(comm, [&] {
    const Json manifest = read_manifest(file);
    state.stage = manifest.at("stage").get<std::string>();
    state.step = manifest.at("step").get<std::int64_t>();
    state.values = manifest.at("values");
    for (const Json& entry : manifest.at("tensors")) {
      const auto name = entry.at("name").get<std::string>();
      const at::Tensor tensor = file.read("tensors/" + name);
      state.tensors.emplace_back(name, tensor.view(entry.at("shape").get<std::vector<std::int64_t>>()));
      expected.emplace_back(name, entry.at("crc32").get<std::vector<std::int64_t>>());
    }
  });
  std::vector<std::vector<std::int64_t>> found;
  for (const auto& [name, tensor] : state.tensors) found.push_back(block_checksums(tensor.view(-1), comm));
  guarded(comm, [&] {
    for (std::size_t i = 0; i < found.size(); ++i)
      if (found[i] != expected[i].second)
        fail_data(concat(path, ": the checksum of ", expected[i].first, " is wrong"), "the file is damaged",
                  "use an older checkpoint");
  });
  return state;
}

std::optional<CheckpointState> read_newest_checkpoint(const std::string& folder, const Communicator& comm) {
  std::string list;
  guarded(comm, [&] {
    if (comm.rank() != 0 || !fs::exists(folder)) return;
    for (const auto& entry : fs::directory_iterator(folder))  // left by a writer that was killed
      if (entry.path().extension() == ".part") fs::remove(entry.path());
    for (const std::string& path : list_checkpoints(folder)) list += path + "\n";
  });
  list = comm.broadcast(list, 0);
  for (std::size_t first = 0; first < list.size();) {
    const std::size_t last = list.find('\n', first);
    const std::string path = list.substr(first, last - first);
    first = last + 1;
    try {
      return read_checkpoint(path, comm);
    } catch (const Error& error) {  // the same on all ranks, see guarded()
      if (comm.rank() == 0) log_warning(concat("skipping a checkpoint: ", error.what()));
    }
  }
  return std::nullopt;
}

}  // namespace rluf
