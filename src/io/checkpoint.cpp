#include "rluf/io/checkpoint.hpp"

#include <ATen/ATen.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "rluf/core/error.hpp"
#include "rluf/core/log.hpp"
#include "rluf/io/jsonl.hpp"
#include "rluf/io/run_directory.hpp"

namespace rluf {
namespace {

namespace fs = std::filesystem;

/// Version of the layout, raised with every change of it.
/// 1: tensors/NAME, attributes/manifest with block checksums; values.identity
/// 2: identity and state beside each other in the manifest; tensors may be written as rows of different ranks
constexpr int kFormatVersion = 2;
/// Checksums cover blocks of this many elements, fixed by the tensor alone and not by who wrote it.
constexpr std::int64_t kBlockElements = std::int64_t{1} << 20;

std::uint32_t checksum(const void* data, std::size_t num_bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, static_cast<const Bytef*>(data), num_bytes));
}

/// Elements [first, last) of the flat global tensor lie in `data`: their checksums, cut where a block ends, as triples
/// (block, bytes, crc32).
std::vector<std::int64_t> piece_checksums(const at::Tensor& data, Range elements) {
  std::vector<std::int64_t> pieces;
  const auto width = static_cast<std::int64_t>(data.element_size());
  for (std::int64_t first = elements.first; first < elements.last;) {
    const std::int64_t block = first / kBlockElements, last = std::min(elements.last, (block + 1) * kBlockElements);
    const auto num_bytes = static_cast<std::size_t>((last - first) * width);
    const char* from = static_cast<const char*>(data.const_data_ptr()) + (first - elements.first) * width;
    pieces.insert(pieces.end(), {block, static_cast<std::int64_t>(num_bytes), checksum(from, num_bytes)});
    first = last;
  }
  return pieces;
}

/// Checksums of whole blocks from everyone's pieces, which stand in the order of the elements.
std::vector<std::int64_t> block_checksums(const std::vector<std::int64_t>& pieces) {
  std::vector<std::int64_t> blocks;
  for (std::size_t i = 0; i < pieces.size(); i += 3) {
    if (pieces[i] == static_cast<std::int64_t>(blocks.size())) {
      blocks.push_back(pieces[i + 2]);
    } else {
      blocks.back() = static_cast<std::int64_t>(
          crc32_combine(static_cast<uLong>(blocks.back()), static_cast<uLong>(pieces[i + 2]), pieces[i + 1]));
    }
  }
  return blocks;
}

std::int64_t elements_of_row(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) count *= shape[d];
  return count;
}

/// A tensor of no dimensions is stored as one row.
std::vector<std::int64_t> stored_shape(const std::vector<std::int64_t>& shape) {
  return shape.empty() ? std::vector<std::int64_t>{1} : shape;
}

std::string file_name(const std::string& folder, std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08ld.h5", static_cast<long>(step));
  return folder + "/" + name;
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// What a checkpoint will hold, as this rank's rows.
class Collector : public StateArchive {
 public:
  struct Part {
    std::string name;
    std::vector<std::int64_t> shape;  ///< global, as the component has it
    at::Tensor rows;
  };
  explicit Collector(const Communicator& comm) : comm_(comm) {}
  void number(const std::string& name, std::int64_t& value) override { state[name] = value; }
  void json(const std::string& name, Json& value) override { state[name] = value; }
  void tensor(const std::string& name, at::Tensor& tensor) override {
    const std::vector<std::int64_t> shape = stored_shape(tensor.sizes().vec());
    const Range mine = shard_range(shape[0], comm_.size(), comm_.rank());
    add(name, tensor.sizes().vec(), tensor.detach().view(shape).narrow(0, mine.first, mine.count()));
  }
  void rows(const std::string& name, at::Tensor& mine, const std::vector<std::int64_t>& shape) override {
    RLUF_ASSERT(mine.size(0) == shard_range(shape.at(0), comm_.size(), comm_.rank()).count());
    add(name, shape, mine.detach());
  }
  Json state = Json::object();
  std::vector<Part> parts;

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape, const at::Tensor& rows) {
    parts.push_back({name, std::move(shape), rows.to(at::kCPU).contiguous()});
  }
  const Communicator& comm_;
};

/// Reads what a Collector wrote.
class Restorer : public StateArchive {
 public:
  Restorer(const Hdf5File& file, const Json& manifest, const Communicator& comm)
      : file_(file), manifest_(manifest), comm_(comm) {}
  void number(const std::string& name, std::int64_t& value) override { value = state(name).get<std::int64_t>(); }
  void json(const std::string& name, Json& value) override { value = state(name); }
  void tensor(const std::string& name, at::Tensor& tensor) override {
    const std::vector<std::int64_t> shape = shape_of(name);
    if (tensor.defined() && tensor.sizes().vec() != shape) fail_shape(name, tensor.sizes().vec());
    const at::Tensor read = file_.read("tensors/" + name).view(shape);
    if (tensor.defined()) {
      tensor.copy_(read);
    } else {
      tensor = read;
    }
  }
  void rows(const std::string& name, at::Tensor& mine, const std::vector<std::int64_t>& shape) override {
    if (shape_of(name) != shape) fail_shape(name, shape);
    const Range range = shard_range(shape.at(0), comm_.size(), comm_.rank());
    mine.copy_(file_.read_rows("tensors/" + name, range.first, range.last));
  }

 private:
  const Json& state(const std::string& name) const {
    const Json& all = manifest_.at("state");
    if (!all.contains(name)) fail_missing(name);
    return all.at(name);
  }
  std::vector<std::int64_t> shape_of(const std::string& name) const {
    for (const Json& entry : manifest_.at("tensors"))
      if (entry.at("name") == name) return entry.at("shape").get<std::vector<std::int64_t>>();
    fail_missing(name);
  }
  [[noreturn]] void fail_missing(const std::string& name) const {
    fail_data(concat(file_.path(), " lacks ", name), "it was made with another model or other trainable layers",
              "restore the old options or use another run.directory");
  }
  [[noreturn]] void fail_shape(const std::string& name, const std::vector<std::int64_t>& wanted) const {
    fail_data(
        concat(file_.path(), ": ", name, " has the shape ", Json(shape_of(name)).dump(), ", not ", Json(wanted).dump()),
        "it was made with another model", "restore the old options or use another run.directory");
  }
  const Hdf5File& file_;
  const Json& manifest_;
  const Communicator& comm_;
};

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

void check_space(const std::string& folder, std::int64_t num_bytes) {
  fs::create_directories(folder);
  const auto space = fs::space(folder);
  if (static_cast<std::int64_t>(space.available) < num_bytes + (1 << 20))
    fail_input(concat("the disk of ", folder, " has ", space.available >> 20, " MiB left, a checkpoint needs ",
                      num_bytes >> 20),
               "the run could not be continued", "free space; earlier checkpoints are untouched");
}

/// Checks this rank's share of the blocks of one tensor.
void verify_tensor(const Hdf5File& file, const Json& entry, const Communicator& comm) {
  const auto name = entry.at("name").get<std::string>();
  const std::vector<std::int64_t> shape = stored_shape(entry.at("shape").get<std::vector<std::int64_t>>());
  if (file.shape("tensors/" + name) != shape)
    fail_data(concat(file.path(), ": ", name, " has not the shape that the manifest says"), "the file is damaged",
              "use an older checkpoint");
  const std::int64_t row = elements_of_row(shape), numel = shape[0] * row;
  const auto expected = entry.at("crc32").get<std::vector<std::int64_t>>();
  const Range blocks = shard_range((numel + kBlockElements - 1) / kBlockElements, comm.size(), comm.rank());
  const Range elements{blocks.first * kBlockElements, std::min(numel, blocks.last * kBlockElements)};
  if (elements.count() <= 0) return;
  const std::int64_t first_row = elements.first / row, last_row = (elements.last + row - 1) / row;
  const at::Tensor flat = file.read_rows("tensors/" + name, first_row, last_row).view(-1);
  const auto pieces =
      piece_checksums(flat.narrow(0, elements.first - first_row * row, elements.count()).contiguous(), elements);
  for (std::size_t i = 0; i < pieces.size(); i += 3)
    if (expected.at(static_cast<std::size_t>(pieces[i])) != pieces[i + 2])
      fail_data(concat(file.path(), ": the checksum of ", name, " is wrong"), "the file is damaged",
                "use an older checkpoint");
}

}  // namespace

void write_checkpoint(const std::string& folder, const CheckpointHeader& header, const DescribeState& describe,
                      const Communicator& comm, const Retention& retention) {
  Collector collected(comm);
  describe(collected);
  std::int64_t num_bytes = 0;
  for (const auto& part : collected.parts) num_bytes += static_cast<std::int64_t>(part.rows.nbytes());
  num_bytes = comm.all_reduce(num_bytes);
  guarded(comm, [&] {
    if (comm.rank() == 0) check_space(folder, num_bytes);
  });
  Hdf5File file = Hdf5File::create(file_name(folder, header.step), comm);
  Json manifest{{"format_version", kFormatVersion},
                {"stage", header.stage},
                {"step", header.step},
                {"identity", header.identity},
                {"state", collected.state},
                {"written_by", {{"host", host_name()}, {"ranks", comm.size()}}},
                {"block_elements", kBlockElements},
                {"tensors", Json::array()}};
  for (const auto& part : collected.parts) {
    const std::vector<std::int64_t> shape = stored_shape(part.shape);
    const Range rows = shard_range(shape[0], comm.size(), comm.rank());
    file.create_dataset("tensors/" + part.name, part.rows.scalar_type(), shape);
    file.write_rows("tensors/" + part.name, rows.first, part.rows);
    const std::int64_t row = elements_of_row(shape);
    manifest["tensors"].push_back(
        {{"name", part.name},
         {"shape", part.shape},
         {"type", c10::toString(part.rows.scalar_type())},
         {"crc32", block_checksums(comm.all_gather(piece_checksums(part.rows, {rows.first * row, rows.last * row})))}});
  }
  const std::string text = comm.broadcast(manifest.dump(), 0);
  file.write_attribute("manifest", text);
  file.write_attribute("manifest_crc32", std::to_string(checksum(text.data(), text.size())));
  file.commit();
  const Checkpoint written(file_name(folder, header.step), comm);  // verified before an older one may go
  guarded(comm, [&] {
    if (comm.rank() == 0) prune_checkpoints(folder, retention);
  });
}

Checkpoint::Checkpoint(const std::string& path, const Communicator& comm)
    : comm_(comm), file_(Hdf5File::open(path, comm)) {
  guarded(comm, [&] {
    manifest_ = read_manifest(file_);
    header_ = {manifest_.at("stage").get<std::string>(), manifest_.at("step").get<std::int64_t>(),
               manifest_.at("identity")};
    for (const Json& entry : manifest_.at("tensors")) verify_tensor(file_, entry, comm);
  });
}

std::optional<Checkpoint> Checkpoint::newest(const std::string& folder, const Communicator& comm) {
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
      return Checkpoint(path, comm);
    } catch (const Error& error) {  // the same on all ranks, see guarded()
      if (comm.rank() == 0) log_warning(concat("skipping a checkpoint: ", error.what()));
    }
  }
  return std::nullopt;
}

void Checkpoint::restore(const DescribeState& describe) const {
  Restorer restorer(file_, manifest_, comm_);
  describe(restorer);
}

std::vector<std::string> Checkpoint::tensor_names() const {
  std::vector<std::string> names;
  for (const Json& entry : manifest_.at("tensors")) names.push_back(entry.at("name").get<std::string>());
  return names;
}

at::Tensor Checkpoint::read(const std::string& name) const {
  at::Tensor tensor;
  Restorer(file_, manifest_, comm_).tensor(name, tensor);
  return tensor;
}

void check_identity(const CheckpointHeader& header, const Json& identity) {
  const std::string changes = text_of_differences(header.identity, identity);
  if (!changes.empty())
    fail_data(concat("the checkpoint of stage ", header.stage, " at step ", header.step,
                     " was made with other options or data: ", changes),
              "continuing would mix two runs",
              "restore the old options, use another run.directory, or remove the stage's checkpoints");
}

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

std::vector<std::string> prune_checkpoints(const std::string& folder, const Retention& retention) {
  std::vector<std::string> removed;
  const auto paths = list_checkpoints(folder);
  for (auto i = static_cast<std::size_t>(std::max<std::int64_t>(1, retention.keep_last)); i < paths.size(); ++i) {
    const std::int64_t step = std::atoll(fs::path(paths[i]).stem().string().substr(5).c_str());
    if (retention.keep_every > 0 && step % retention.keep_every == 0) continue;
    fs::remove(paths[i]);
    removed.push_back(paths[i]);
  }
  return removed;
}

}  // namespace rluf
